"""TrueType faces: the characters that they have, and images of them."""

from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_EM = 64
_ROOM = 4
_CANVAS = 112
_INK = _CANVAS * 12 // 14


class Style(NamedTuple):
    """A mild deformation of a character.

    Attributes:
        stroke: how far the outline is moved outwards, in 64ths of the em square.
        stretch: the factor on the width, before the image is scaled to fit.
        shear: the slant to the right, as the horizontal shift per unit of height.
    """

    stroke: float
    stretch: float
    shear: float


PLAIN = Style(stroke=0.0, stretch=1.0, shear=0.0)


class Face:
    """One TrueType face: its file and the characters it has."""

    def __init__(self, path: Path) -> None:
        """Open the font file `path`; raise OSError or RuntimeError if it is not a font."""
        self.path = path
        self.characters = frozenset(map(chr, FT2Font(path).get_charmap()))
        self._font = ImageFont.truetype(path, _EM, layout_engine=ImageFont.Layout.BASIC)

    def has_ink(self, character: str) -> bool:
        """Whether the face has `character`, and its image is not blank."""
        return character in self.characters and self._font.getmask(character).getbbox() is not None

    def draw(self, character: str, style: Style, side: int) -> Tensor:
        """An image of `character`: uint8, (side, side), ink 255 on 0.

        The character is cropped to its ink, scaled so that the longer side leaves a margin of one
        pixel in 14, centred, and averaged down from 112×112 pixels.

        Raises:
            ValueError: the image of `character` is blank.
        """
        left, top, right, bottom = self._font.getbbox(character, stroke_width=style.stroke)
        height = int(bottom - top) + 2 * _ROOM
        width = int(right - left + abs(style.shear) * height) + 2 * _ROOM
        ink = Image.new("L", (width, height))
        ImageDraw.Draw(ink).text(
            (_ROOM - int(left), _ROOM - int(top)),
            character,
            fill=255,
            font=self._font,
            stroke_width=style.stroke,
        )
        if style.shear:
            offset = -style.shear * height if style.shear > 0 else 0.0
            ink = ink.transform(
                ink.size,
                Image.Transform.AFFINE,
                (1, style.shear, offset, 0, 1, 0),
                Image.Resampling.BILINEAR,
            )
        box = ink.getbbox()
        if box is None:
            raise ValueError(f"{self.path.name} has no ink for {character!r}")
        ink_width, ink_height = (box[2] - box[0]) * style.stretch, box[3] - box[1]
        scale = _INK / max(ink_width, ink_height)
        size = max(1, round(ink_width * scale)), max(1, round(ink_height * scale))
        canvas = Image.new("L", (_CANVAS, _CANVAS))
        canvas.paste(
            ink.resize(size, Image.Resampling.BILINEAR, box),
            ((_CANVAS - size[0]) // 2, (_CANVAS - size[1]) // 2),
        )
        pixels = bytearray(canvas.resize((side, side), Image.Resampling.BOX).tobytes())
        return torch.frombuffer(pixels, dtype=torch.uint8).view(side, side)
