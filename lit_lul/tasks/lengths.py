"""Lengths of truncations and of inner problems as functions of the outer step (appendix H.2)."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lit_lul.errors import InvalidInput


@dataclass
class UnrollLength:
    """Inner steps per truncation, uniform between two bounds that move linearly.

    Raises:
        InvalidInput: for bounds below zero or in the wrong order.
    """

    first: tuple[int, int] = (2, 4)
    """Bounds at outer step 0, both included; of 0 steps for a learner that needs none."""
    last: tuple[int, int] = (8, 15)
    """Bounds from outer step `over` on."""
    over: int = 50_000
    """Outer steps from `first` to `last`."""

    def __post_init__(self) -> None:
        for low, high in (self.first, self.last):
            if not 0 <= low <= high:
                raise InvalidInput(
                    f"unroll length from {low} to {high}: expected 0 <= lower <= upper bound"
                )

    def sample(self, outer_step: int, rng: np.random.Generator) -> int:
        """Draw U, the inner steps of one truncation."""
        done = min(1.0, outer_step / self.over) if self.over > 0 else 1.0
        low, high = (round(a + done * (b - a)) for a, b in zip(self.first, self.last, strict=True))
        return int(rng.integers(low, high, endpoint=True))


@dataclass
class ProblemLength:
    """Inner steps of an inner problem, whose distribution moves linearly with the outer step.

    Raises:
        InvalidInput: for a number below one, a negative spread or an unknown distribution.
    """

    first: int = 20
    """Mean at outer step 0, in inner steps; the lower bound if log-uniform."""
    last: int = 20_000
    """Mean from outer step `over` on, in inner steps; the upper bound if log-uniform."""
    over: int = 5_000
    """Outer steps in which mean or upper bound moves from `first` to `last`."""
    spread: float = 1.0
    """Standard deviation as a multiple of the mean: 1 in the paper, 0 for a constant. Without
    effect if log-uniform."""
    distribution: Literal["normal", "log-uniform"] = "normal"
    """Log-uniform lengths have short and very long problems alike."""

    def __post_init__(self) -> None:
        if min(self.first, self.last) < 1 or self.spread < 0:
            raise InvalidInput(
                f"problem length from {self.first} to {self.last} with spread {self.spread}: "
                "expected means of one or more and a spread of zero or more"
            )
        choices = get_args(self.__annotations__["distribution"])
        if self.distribution not in choices:
            raise InvalidInput(
                f"problem length distribution {self.distribution!r}: "
                f"expected one of {', '.join(choices)}"
            )

    def sample(self, outer_step: int, rng: np.random.Generator) -> int:
        """Draw the inner steps of one inner problem, one or more."""
        done = min(1.0, outer_step / self.over) if self.over > 0 else 1.0
        moving = self.first + done * (self.last - self.first)
        if self.distribution == "log-uniform":
            logarithm = rng.uniform(np.log(self.first), np.log(moving))
            return max(1, round(float(np.exp(logarithm))))
        return max(1, round(rng.normal(moving, self.spread * moving)))
