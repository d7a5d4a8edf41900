"""Task families: which classes of which images a task may be made of (appendix H.1.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput


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
    distortion: float = 0.0
    """Every image is mapped linearly by I + D, where D is 2 × 2, uniform between ± this."""
    tilt: tuple[float, float] = (0.0, 0.0)
    """Bounds of the exponent by which a task changes the spectrum of its images."""
    inverted: float = 0.0
    """Share of the tasks whose images are inverted."""
    printed: float = 0.0
    """Share of the tasks whose images are printed on silhouettes that classes share."""
    filled: float = 0.0
    """Share of the tasks whose classes are silhouettes, printed on anew in every image."""
    elastic: float = 0.0
    """Bound of a task's elastic deformation, as a share of the images' side."""


class TaskSource(NamedTuple):
    """Images, and the kinds of task that are made of them."""

    images: ImageSet
    families: list[Family]


def random_families(
    name: str, pool: Sequence[int] | np.ndarray, ways: Sequence[int], transformed: float
) -> list[Family]:
    """Families of random classes: for each number of ways plain and transformed ones.

    Args:
        name: first part of the families' names.
        pool: classes to draw from.
        ways: numbers of classes, equally frequent.
        transformed: share of the transformed tasks.

    Raises:
        InvalidInput: when a family wants more classes than there are.
    """
    return [
        make_family(f"{name}-{n}{suffix}", pool, n, turned, share)
        for n in ways
        for suffix, turned, share in (
            ("", False, 1 - transformed),
            ("-transformed", True, transformed),
        )
        if share > 0
    ]


def make_family(
    name: str, pool: Sequence[int] | np.ndarray, ways: int, transformed: bool, weight: float
) -> Family:
    """One family.

    Raises:
        InvalidInput: when it wants more classes than there are.
    """
    if len(pool) < ways:
        raise InvalidInput(f"{name}: {ways} classes asked for, {len(pool)} to draw from")
    return Family(name, tuple(int(c) for c in pool), ways, transformed, weight)


def weighted(families: Sequence[Family], weight: float) -> list[Family]:
    """The same families with weights that sum to `weight`."""
    total = sum(family.weight for family in families)
    return [replace(family, weight=family.weight * weight / total) for family in families]


def check_mixture(name: str, ways: Sequence[int], transformed: float, weight: float) -> None:
    """Check what every kind of task has in its configuration.

    Raises:
        InvalidInput: for ways below two, a share outside 0 to 1, or a negative weight.
    """
    if not ways or min(ways) < 2:
        raise InvalidInput(f"{name} ways {list(ways)}: expected numbers of two or more")
    if not 0 <= transformed <= 1:
        raise InvalidInput(f"{name} transformed {transformed}: expected a share, 0 to 1")
    if weight < 0:
        raise InvalidInput(f"{name} weight {weight}: expected zero or more")
