"""Task families: which classes of which images a task may be made of (appendix H.1.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lit_lul.errors import InvalidInput
from lit_lul.tasks.glyphs import characters_in, load_glyphs
from lit_lul.tasks.image_set import ImageSet

Special = Literal["letters", "mathematics", "currency"]
SPECIAL_WAYS = 10
HELD_OUT_SEED = 2018


@dataclass(frozen=True)
class Family:
    """A kind of task."""

    name: str
    """What metrics of these tasks are logged under."""
    pool: tuple[int, ...]
    """The classes that a task draws its own from."""
    ways: int
    """Classes of one task."""
    transformed: bool
    """Whether images are rotated and shifted, and the coefficients are regression targets."""
    weight: float
    """Relative frequency."""


@dataclass
class GlyphTasks:
    """Classification of rendered characters.

    Raises:
        InvalidInput: without ways, for ways below two, or a share outside 0 to 1.
    """

    ways: list[int] = field(default_factory=lambda: [10, 13, 14, 17, 20, 30])
    """Numbers of classes, each with characters drawn at random; equally frequent."""
    special: list[Special] = field(default_factory=lambda: ["letters", "mathematics", "currency"])
    """Kinds of character that 10-way problems are made of, each as frequent as one of `ways`."""
    transformed: float = 0.5
    """Share of the random problems with rotations and shifts; special ones always have them."""
    held_out: float = 0.1
    """Share of the characters (none of the special kinds) that only validation sees."""

    def __post_init__(self) -> None:
        if not self.ways or min(self.ways) < 2:
            raise InvalidInput(f"glyph ways {self.ways}: expected numbers of two or more")
        for name in ("transformed", "held_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(f"glyph {name} {getattr(self, name)}: expected a share, 0 to 1")

    def load(self, side: int) -> tuple[ImageSet, list[Family], list[Family]]:
        """The images at `side` × `side` pixels, and the families of training and of validation.

        Raises:
            InvalidInput: when a family wants more classes than there are.
        """
        glyphs = load_glyphs(side)
        kinds = {kind: characters_in(kind, glyphs.class_names) for kind in self.special}
        ordinary = np.setdiff1d(
            np.arange(glyphs.n_classes), characters_in_any_kind(glyphs.class_names)
        )
        order = np.random.default_rng(HELD_OUT_SEED).permutation(ordinary)
        held_out = order[: round(self.held_out * len(order))]
        training = np.setdiff1d(np.arange(glyphs.n_classes), held_out)
        families = [
            *self._random_families(training),
            *(_family(kind, pool, SPECIAL_WAYS, True, 1.0) for kind, pool in kinds.items()),
        ]
        return glyphs, families, self._random_families(held_out)

    def _random_families(self, pool: Sequence[int] | np.ndarray) -> list[Family]:
        return [
            _family(f"glyphs{ways}{suffix}", pool, ways, transformed, share)
            for ways in self.ways
            for suffix, transformed, share in (
                ("", False, 1 - self.transformed),
                ("_transformed", True, self.transformed),
            )
            if share > 0
        ]


def characters_in_any_kind(names: Sequence[str]) -> list[int]:
    """Indices of the letters, mathematical symbols and currency signs among `names`."""
    kinds: tuple[Special, ...] = ("letters", "mathematics", "currency")
    return sorted(index for kind in kinds for index in characters_in(kind, names))


def _family(
    name: str, pool: Sequence[int] | np.ndarray, ways: int, transformed: bool, weight: float
) -> Family:
    if len(pool) < ways:
        raise InvalidInput(f"{name}: {ways} classes asked for, {len(pool)} characters to draw from")
    return Family(name, tuple(int(c) for c in pool), ways, transformed, weight)
