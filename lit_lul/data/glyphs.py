"""Characters rendered from fonts, a training distribution (Metz et al. 2018, app. H.1.1).

The appendix asks for 1000 characters at 14×14 pixels, black and white, and names no fonts. Used
here are fonts that matplotlib ships: the twelve DejaVu Sans, Sans Mono and Serif faces, which have
all of the characters, and the four STIX General faces, for the characters that they have. Computer
Modern and the other STIX fonts are not used, because their character codes are not Unicode.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from string import ascii_letters, digits
from typing import Literal, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.quasirandom import SobolEngine

from lit_lul.data.cache import cached_tensors
from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput

_RENDERER = 1
_CLASS_CATEGORIES = {"Lu", "Ll", "Lt", "Lo", "Sm", "Sc", "So"}
_IMAGES_PER_CHARACTER = 48
_SIMILAR = 0.925
_COMPARED_SIDE = 14
_EM = 64
_ROOM = 4
_CANVAS = 112
_INK = _CANVAS * 12 // 14


class Style(NamedTuple):
    """A mild deformation of a character; none by default."""

    stroke: float = 0.0
    """How far the outline is moved outwards, in 64ths of the em square."""
    stretch: float = 1.0
    """The factor on the width, before the image is scaled to fit."""
    shear: float = 0.0
    """The slant to the right, as the horizontal shift per unit of height."""


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
        return torch.from_numpy(np.array(canvas.resize((side, side), Image.Resampling.BOX)))


def load_glyphs(side: int) -> ImageSet:
    """Images of the characters, rendered by the first call for a side and cached for the others.

    The classes are the same for every side: the letters (except modifier letters, which are small
    copies of others) and the mathematical, currency and other symbols that all twelve DejaVu faces
    have. No class is a digit, because rules are evaluated on digits: characters of Unicode category
    N, those whose NFKD decomposition contains one, and those that look like one of 0 to 9 are
    excluded. Of characters that look alike (such as Latin A, Greek Alpha and Cyrillic A, or o and
    O) only the first is a class: ASCII letters come first, then currency and mathematical symbols,
    then the rest, each by code point.

    Two characters look alike if their images at 14×14, averaged over the twelve faces, have a
    correlation of at least 0.925. Most pairs above it are the same or differ in the shape of one
    accent, and a threshold below 0.92 would leave fewer than 1000 characters.

    Each character has 48 images of one channel, ink 255 on 0, from each of its faces in turn, with
    a different stroke, stretch and shear for each image. `class_names` are the characters.

    Args:
        side: the images' height and width in pixels, 4 or more.

    Raises:
        InvalidInput: `side` is less, or the cache cannot be written.
    """
    if side < 4:
        raise InvalidInput(f"glyphs side {side}: must be at least 4 pixels")
    core, extra = _font_files("DejaVu*[!y].ttf"), _font_files("STIXGeneral*.ttf")
    fonts = hashlib.sha256()
    for path in core + extra:
        fonts.update(path.name.encode() + path.read_bytes())
    key = {"side": side, "renderer": _RENDERER, "fonts": fonts.hexdigest()}

    def render() -> dict[str, Tensor]:
        faces = [Face(path) for path in core]
        characters = _distinct(_candidates(faces), faces)
        return _render(characters, faces, [Face(path) for path in extra], side)

    tensors = cached_tensors("glyphs", key, render)
    names = tuple(map(chr, tensors["code_points"].tolist()))
    start = torch.arange(len(names) + 1) * _IMAGES_PER_CHARACTER
    return ImageSet(tensors["images"], start, names)


def characters_in(
    category: Literal["letters", "mathematics", "currency"], names: Sequence[str]
) -> list[int]:
    """Indices of the characters in `names` that belong to `category`.

    Letters are the ASCII letters; mathematics and currency are Unicode categories Sm and Sc.
    """
    return [index for index, name in enumerate(names) if _category(name) == category]


def _category(character: str) -> str:
    if character in ascii_letters:
        return "letters"
    return {"Sc": "currency", "Sm": "mathematics"}.get(unicodedata.category(character), "other")


def _font_files(pattern: str) -> list[Path]:
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    files = sorted(folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"matplotlib's font folder {folder} has no {pattern}")
    return files


def _render(
    characters: Sequence[str], core: Sequence[Face], extra: Sequence[Face], side: int
) -> dict[str, Tensor]:
    spread = SobolEngine(3).draw(_IMAGES_PER_CHARACTER).tolist()
    styles = [
        Style(stroke=1.5 * u, stretch=2 ** (0.6 * v - 0.3), shear=0.3 * w - 0.15)
        for u, v, w in spread
    ]
    images = []
    bar = track(characters, "Rendering glyphs", transient=True, console=Console(stderr=True))
    for character in bar:
        faces = [*core, *(face for face in extra if face.has_ink(character))]
        images += [
            faces[index * len(faces) // len(styles)].draw(character, style, side)
            for index, style in enumerate(styles)
        ]
    code_points = torch.tensor([ord(character) for character in characters])
    return {"images": torch.stack(images).unsqueeze(1), "code_points": code_points}


def _candidates(core: Sequence[Face]) -> list[str]:
    common = reduce(frozenset.intersection, (face.characters for face in core))
    order = ["letters", "currency", "mathematics", "other"]
    return sorted(
        (c for c in common if _may_be_class(c) and all(face.has_ink(c) for face in core)),
        key=lambda c: (order.index(_category(c)), c),
    )


def _may_be_class(character: str) -> bool:
    parts = map(unicodedata.category, unicodedata.normalize("NFKD", character))
    return unicodedata.category(character) in _CLASS_CATEGORIES and not any(
        part.startswith("N") for part in parts
    )


def _distinct(characters: Sequence[str], core: Sequence[Face]) -> list[str]:
    compared = [*digits, *characters]
    drawn = [
        torch.stack([face.draw(c, Style(), _COMPARED_SIDE) for face in core]) for c in compared
    ]
    means = torch.stack([images.float().mean(0).ravel() for images in drawn])
    alike = torch.corrcoef(means) >= _SIMILAR
    kept = list(range(len(digits)))
    for index in range(len(digits), len(compared)):
        if not alike[index, kept].any():
            kept.append(index)
    return [compared[index] for index in kept[len(digits) :]]
