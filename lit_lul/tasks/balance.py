"""Load balance between ranks: strata that cohorts draw networks and families from."""

from typing import NamedTuple

Bounds = tuple[float, float]
"""An interval of quantiles within 0 to 1."""


class Stratum(NamedTuple):
    """The quantiles that a cohort draws from."""

    network: Bounds
    """Quantiles of the networks, sorted by cost."""
    family: Bounds
    """Quantiles of the task families, sorted by their inputs."""


def strata(total: int) -> list[Stratum]:
    """The strata of all cohorts of a run, by cohort number.

    Two cohorts share each stratum of networks: one draws from the cheaper half of the families,
    the other from the more expensive half. If the number of cohorts is odd, the last draws from all
    families. Over all cohorts, networks and families therefore have the same distribution as
    without strata, and are independent. Bit-reversed numbers (van der Corput) spread any block of
    consecutive cohorts, such as those of one rank, evenly over both.
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
