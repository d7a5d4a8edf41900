"""What keeps the ranks of a run equally busy: strata of cohorts."""

from typing import NamedTuple

Bounds = tuple[float, float]
"""A part of the quantiles from 0 to 1."""


class Stratum(NamedTuple):
    """Where a cohort draws from, of all choices sorted by their cost."""

    network: Bounds
    """Quantiles of the networks, sorted by cost."""
    family: Bounds
    """Quantiles of the task families, sorted by their inputs."""


def strata(total: int) -> list[Stratum]:
    """The strata of all cohorts of a run, by number.

    Two cohorts share each stratum of networks, one for the cheaper half of the families and
    one for the dearer; of an odd number, the last draws from all families. So over all cohorts
    networks and families are distributed as without strata, and independently of each
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
