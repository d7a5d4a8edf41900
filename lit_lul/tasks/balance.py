"""What keeps the ranks of a run equally busy: the cost of an inner step, and strata of cohorts."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

WEIGHTS_PER_UNIT = 1000
"""Weights that cost an inner step as much as one unit, about, at the sizes of the paper."""

Bounds = tuple[float, float]
"""A part of the quantiles from 0 to 1."""


def inner_step_cost(sizes: Sequence[int]) -> float:
    """What an inner step of one task costs, in units: the networks of the rule run at every unit.

    Args:
        sizes: units per layer, inputs first and embedding last.
    """
    weights = sum(below * above for below, above in pairwise(sizes))
    return sum(sizes) + weights / WEIGHTS_PER_UNIT


class Stratum(NamedTuple):
    """Where a cohort draws from, of all choices sorted by their cost."""

    architecture: Bounds
    """Quantiles of the architectures."""
    family: Bounds
    """Quantiles of the task families."""


def strata(total: int) -> list[Stratum]:
    """The strata of all cohorts of a run, by number.

    Two cohorts share each stratum of architectures, one for the cheaper half of the families and
    one for the dearer; of an odd number, the last draws from all families. So over all cohorts
    architectures and families are distributed as without strata, and independently of each
    other. Bit-reversed numbers (van der Corput) spread any block of consecutive cohorts, the
    cohorts of one rank, evenly over both.
    """
    by_reversed_bits = sorted(range(total), key=lambda cohort: f"{cohort:032b}"[::-1])
    found = {}
    for place, cohort in enumerate(by_reversed_bits):
        first = place - place % 2
        last = min(first + 2, total)
        half = place.bit_count() % 2 / 2
        family = (half, half + 0.5) if last - first == 2 else (0.0, 1.0)
        found[cohort] = Stratum((first / total, last / total), family)
    return [found[cohort] for cohort in range(total)]
