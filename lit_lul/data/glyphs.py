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
from typing import Literal

import matplotlib
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.quasirandom import SobolEngine

from lit_lul.data.cache import cached_tensors
from lit_lul.data.fonts import PLAIN, Face, Style
from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput

_RENDERER = 1
_CLASS_CATEGORIES = {"Lu", "Ll", "Lt", "Lo", "Sm", "Sc", "So"}
_IMAGES_PER_CHARACTER = 48
_SIMILAR = 0.925
_COMPARED_SIDE = 14


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
        side: the images' height and width, in pixels.

    Raises:
        InvalidInput: `side` is less than 4, or the cache cannot be written.
        OSError: the fonts are missing or unreadable.
    """
    if side < 4:
        raise InvalidInput(f"glyphs side {side}: must be at least 4 pixels")
    core, extra = _font_files("DejaVu*[!y].ttf"), _font_files("STIXGeneral*.ttf")
    fonts = hashlib.sha256()
    for path in core + extra:
        fonts.update(path.name.encode() + path.read_bytes())
    key = {"renderer": _RENDERER, "fonts": fonts.hexdigest()}

    def render() -> dict[str, Tensor]:
        faces = [Face(path) for path in core]
        classes = cached_tensors("glyph_classes", key, lambda: _classes(faces))
        return _render(classes["code_points"], faces, [Face(path) for path in extra], side)

    tensors = cached_tensors("glyphs", {"side": side, **key}, render)
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


def _classes(core: Sequence[Face]) -> dict[str, Tensor]:
    """The code points of the classes, which are the same for every side."""
    characters = _distinct(_candidates(core), core)
    return {"code_points": torch.tensor([ord(character) for character in characters])}


def _render(
    code_points: Tensor, core: Sequence[Face], extra: Sequence[Face], side: int
) -> dict[str, Tensor]:
    spread = SobolEngine(3).draw(_IMAGES_PER_CHARACTER).tolist()
    styles = [
        Style(stroke=1.5 * u, stretch=2 ** (0.6 * v - 0.3), shear=0.3 * w - 0.15)
        for u, v, w in spread
    ]
    images = []
    characters = list(map(chr, code_points.tolist()))
    bar = track(characters, "Rendering glyphs", transient=True, console=Console(stderr=True))
    for character in bar:
        faces = [*core, *(face for face in extra if face.has_ink(character))]
        images += [
            faces[index * len(faces) // len(styles)].draw(character, style, side)
            for index, style in enumerate(styles)
        ]
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
    means = [
        torch.stack([face.draw(c, PLAIN, _COMPARED_SIDE) for face in core]).float().mean(0).ravel()
        for c in compared
    ]
    alike = torch.corrcoef(torch.stack(means)) >= _SIMILAR
    kept = list(range(len(digits)))
    for index in range(len(digits), len(compared)):
        if not alike[index, kept].any():
            kept.append(index)
    return [compared[index] for index in kept[len(digits) :]]
