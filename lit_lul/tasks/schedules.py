"""Functions of the outer step: lengths of truncations and problems (H.2), rounds, weights."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from lit_lul.constraints import Checked, NonNegative, NonNegativeInt, Ordered, PositiveInt


def moved(first: float, last: float, over: int, outer_step: float) -> float:
    """What moves linearly from `first` at outer step 0 to `last` from outer step `over` on."""
    done = min(1.0, outer_step / over) if over > 0 else 1.0
    return first + done * (last - first)


@dataclass(frozen=True)
class UnrollLength(Checked):
    """Inner steps per truncation, uniform between two bounds that move linearly."""

    first: Annotated[tuple[NonNegativeInt, NonNegativeInt], Ordered()] = (2, 4)
    """Bounds at outer step 0, both included; of 0 steps for a learner that needs none."""
    last: Annotated[tuple[NonNegativeInt, NonNegativeInt], Ordered()] = (8, 15)
    """Bounds from outer step `over` on."""
    over: int = 50_000
    """Outer steps from `first` to `last`."""

    def sample(self, outer_step: int, rng: np.random.Generator) -> int:
        """Draw U, the inner steps of one truncation."""
        low, high = (
            round(moved(first, last, self.over, outer_step))
            for first, last in zip(self.first, self.last, strict=True)
        )
        return int(rng.integers(low, high, endpoint=True))


@dataclass(frozen=True)
class ProblemLength(Checked):
    """Inner steps of an inner problem, whose distribution moves linearly with the outer step."""

    first: PositiveInt = 20
    """Mean at outer step 0, in inner steps; the lower bound if log-uniform."""
    last: PositiveInt = 20_000
    """Mean from outer step `over` on, in inner steps; the upper bound if log-uniform."""
    over: int = 5_000
    """Outer steps in which mean or upper bound moves from `first` to `last`."""
    spread: NonNegative = 1.0
    """Standard deviation as a multiple of the mean: 1 in the paper, 0 for a constant. Without
    effect if log-uniform."""
    distribution: Literal["normal", "log-uniform"] = "normal"
    """Log-uniform lengths have short and very long problems alike."""

    def sample(self, outer_step: int, rng: np.random.Generator) -> int:
        """Draw the inner steps of one inner problem, one or more."""
        moving = moved(self.first, self.last, self.over, outer_step)
        if self.distribution == "log-uniform":
            logarithm = rng.uniform(np.log(self.first), np.log(moving))
            return max(1, round(float(np.exp(logarithm))))
        return max(1, round(rng.normal(moving, self.spread * moving)))


@dataclass(frozen=True)
class Rounds(Checked):
    """Truncations that an outer step takes of every cohort in flight, a number that moves linearly.

    More rounds make a larger meta-batch of the same cohorts, and a more exact gradient.
    """

    first: PositiveInt = 1
    """Rounds at outer step 0."""
    last: PositiveInt = 1
    """Rounds from outer step `over` on."""
    over: NonNegativeInt = 0
    """Outer steps from `first` to `last`; in between, numbers are rounded."""

    def at(self, outer_step: int) -> int:
        """The rounds of an outer step."""
        return round(moved(self.first, self.last, self.over, outer_step))

    def before(self, outer_step: int) -> int:
        """The rounds of all earlier outer steps together."""
        moving = sum(map(self.at, range(min(outer_step, self.over))))
        return moving + self.last * max(0, outer_step - self.over)


@dataclass(frozen=True)
class WeightSchedule:
    """A weight that moves linearly with the outer step; a `Source` checks it."""

    first: NonNegative
    """Weight at outer step 0."""
    last: NonNegative
    """Weight from outer step `over` on."""
    over: int
    """Outer steps from `first` to `last`."""

    def __truediv__(self, parts: int) -> "WeightSchedule":
        """The weight of each of some equal parts."""
        return WeightSchedule(self.first / parts, self.last / parts, self.over)


Weight = NonNegative | WeightSchedule
"""A weight that stays or moves; either can be divided by a number."""

THE_END = float("inf")
"""An outer step after which no weight moves."""


def weight_at(weight: Weight, outer_step: float) -> float:
    """The weight at an outer step."""
    if isinstance(weight, WeightSchedule):
        return moved(weight.first, weight.last, weight.over, outer_step)
    return weight


def is_drawn(weight: Weight) -> bool:
    """Whether a source of this weight is drawn at any outer step."""
    return weight_at(weight, 0) > 0 or weight_at(weight, THE_END) > 0
