"""Classification of rendered characters (appendix H.1.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from lit_lul.data.glyphs import characters_in, load_glyphs
from lit_lul.errors import InvalidInput
from lit_lul.tasks.families import (
    Family,
    TaskSource,
    check_mixture,
    make_family,
    random_families,
    weighted,
)
from lit_lul.tasks.transforms.elastic import LARGEST

Special = Literal["letters", "mathematics", "currency"]
SPECIAL: tuple[Special, ...] = ("letters", "mathematics", "currency")
SPECIAL_WAYS = 10
HELD_OUT_SEED = 2018


@dataclass
class GlyphTasks:
    """Tasks of rendered characters.

    Raises:
        InvalidInput: for ways below two, a share outside 0 to 1, or a negative weight.
    """

    side: int = 14
    """Height and width of the images, in pixels (H.1.1)."""
    weight: float = 1.0
    """Share of these tasks, relative to the weights of the other kinds."""
    ways: list[int] = field(default_factory=lambda: [10, 13, 14, 17, 20, 30])
    """Numbers of classes, each with characters drawn at random; equally frequent."""
    special: list[Special] = field(default_factory=lambda: list(SPECIAL))
    """Kinds of character that 10-way problems are made of, each as frequent as one of `ways`."""
    transformed: float = 0.5
    """Share of the random problems with rotations and shifts; special ones always have them."""
    distortion: float = 0.0
    """Every image is turned, stretched and sheared: mapped linearly by I + D, where D is 2 × 2,
    uniform between ± this. At 0.35 classes are about as wide as those of handwriting (not in
    H.1.1)."""
    tilt: tuple[float, float] = (0.0, 0.0)
    """Every task draws an exponent within these bounds and multiplies each spatial frequency of r
    cycles per image by (1 + r) ** exponent: below 0 images look more like photographs of things,
    above more like thin outlines (not in H.1.1)."""
    inverted: float = 0.0
    """Share of the tasks with dark ink on light ground (not in H.1.1)."""
    printed: float = 0.0
    """Share of the tasks whose characters are printed on filled shapes of other characters, which
    several classes share, see `lit_lul.tasks.transforms.prints`; their spectrum is not tilted
    (not in H.1.1)."""
    filled: float = 0.0
    """Share of the tasks whose classes are filled shapes of characters, with another character
    printed on every image; their spectrum is not tilted (not in H.1.1)."""
    elastic: float = 0.0
    """Every task draws a share of the images' side up to this, and bends every image by moving
    control points so far at most, see `lit_lul.tasks.transforms.elastic` (not in H.1.1)."""
    held_out: float = 0.1
    """Share of the characters (none of the special kinds) that only validation sees."""

    def __post_init__(self) -> None:
        check_mixture("glyphs", self.ways, self.transformed, self.weight)
        for name in ("inverted", "printed", "filled", "held_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(f"glyphs {name} {getattr(self, name)}: expected a share, 0 to 1")
        if self.printed + self.filled > 1:
            raise InvalidInput(
                f"glyphs printed {self.printed} and filled {self.filled}: expected shares of 1"
            )
        if not self.tilt[0] <= self.tilt[1]:
            raise InvalidInput(f"glyphs tilt {list(self.tilt)}: expected lower <= upper bound")
        if not 0 <= self.elastic <= LARGEST:
            raise InvalidInput(
                f"glyphs elastic {self.elastic}: expected zero to {LARGEST:.3f}, "
                "beyond which images fold"
            )
        if not 0 <= self.distortion < 0.5:
            raise InvalidInput(
                f"glyphs distortion {self.distortion}: expected zero to below 0.5, "
                "where images fold"
            )

    def load(self) -> tuple[TaskSource, TaskSource]:
        """The tasks of training, and of validation.

        Raises:
            InvalidInput: when a family wants more classes than there are.
        """
        glyphs = load_glyphs(self.side)
        ordinary = np.setdiff1d(np.arange(glyphs.n_classes), special_characters(glyphs.class_names))
        order = np.random.default_rng(HELD_OUT_SEED).permutation(ordinary)
        held_out = order[: round(self.held_out * len(order))]
        seen = np.setdiff1d(np.arange(glyphs.n_classes), held_out)
        training = random_families("glyphs", seen, self.ways, self.transformed)
        for kind in self.special:
            pool = characters_in(kind, glyphs.class_names)
            training.append(make_family(f"glyphs-{kind}", pool, SPECIAL_WAYS, True, 1.0))
        validation = random_families("glyphs", held_out, self.ways, self.transformed)
        return (
            TaskSource(glyphs, self._changed(training)),
            TaskSource(glyphs, self._changed(validation)),
        )

    def _changed(self, families: list[Family]) -> list[Family]:
        """With this kind's weight, and what it does to its images."""
        return [
            replace(
                f,
                distortion=self.distortion,
                tilt=self.tilt,
                inverted=self.inverted,
                printed=self.printed,
                filled=self.filled,
                elastic=self.elastic,
            )
            for f in weighted(families, self.weight)
        ]


def special_characters(names: Sequence[str]) -> list[int]:
    """Indices of the letters, mathematical symbols and currency signs among `names`."""
    return sorted(index for kind in SPECIAL for index in characters_in(kind, names))
