"""Weights of task sources in the mixture: numbers, or functions of the outer step."""

from dataclasses import dataclass

from lit_lul.errors import InvalidInput
from lit_lul.tasks.lengths import moved


@dataclass(frozen=True)
class WeightSchedule:
    """A weight that moves linearly with the outer step."""

    first: float
    """Weight at outer step 0."""
    last: float
    """Weight from outer step `over` on."""
    over: int
    """Outer steps from `first` to `last`."""

    def __truediv__(self, parts: int) -> "WeightSchedule":
        """The weight of each of some equal parts."""
        return WeightSchedule(self.first / parts, self.last / parts, self.over)


Weight = float | WeightSchedule
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


def check_weight(what: str, weight: Weight) -> None:
    """Check the weight of a source.

    Raises:
        InvalidInput: for a negative number, also among those of a schedule.
    """
    numbers = vars(weight).values() if isinstance(weight, WeightSchedule) else [weight]
    if not all(number >= 0 for number in numbers):
        raise InvalidInput(f"{what} weight {weight}: expected zero or more")
