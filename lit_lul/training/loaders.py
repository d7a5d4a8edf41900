"""Lightning's loaders: the stream of a run, and rollouts."""

from collections.abc import Iterator
from typing import Any

from lit_lul.tasks.plan import Plan
from lit_lul.tasks.stream import TaskStream
from lit_lul.training.ranks import gather


class Item:
    """What a loader gives: a plain object, which Lightning passes on as it is.

    Args:
        plan: of a truncation.
        counted: whether metrics count it.
    """

    def __init__(self, plan: Plan, counted: bool) -> None:
        self.plan, self.counted = plan, counted


class StreamLoader:
    """Lightning's loader of a stream, which it can save and resume.

    Args:
        stream: of this rank.
        length: truncations of the whole run, counted from its very start; None for no end.
    """

    def __init__(self, stream: TaskStream, length: int | None) -> None:
        self.stream, self.length = stream, length

    def __iter__(self) -> Iterator[Item]:
        """Plans behind the last truncation used; all of them count."""
        return (Item(plan, True) for plan in self.stream)

    def __len__(self) -> int:
        """Truncations of the run.

        Raises:
            TypeError: when the run has no end.
        """
        if self.length is None:
            raise TypeError("the run has no fixed number of outer steps")
        return self.length

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands; ranks call it together, rank 0 gets the cohorts of all of them."""
        mine = self.stream.state_dict()
        return mine | {"slots": [slot for rank in gather(mine) for slot in rank["slots"]]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume there, with this rank's cohorts."""
        self.stream.load_state_dict(state_dict)


class RolloutLoader:
    """Whole problems of some cohorts, each from its beginning.

    Args:
        stream: with as many cohorts as all ranks roll out.
        seed: of the tasks.
        steps: inner steps of each.
        mine: numbers of this rank's cohorts.
    """

    def __init__(self, stream: TaskStream, seed: int, steps: int, mine: range) -> None:
        self.stream, self.seed, self.steps, self.mine = stream, seed, steps, mine

    def __iter__(self) -> Iterator[Item]:
        """Each plan, and whether it counts."""
        plans = self.stream.rollouts(self.seed, self.steps, self.mine or range(1))
        return (Item(plan, bool(self.mine)) for plan in plans)

    def __len__(self) -> int:
        """Cohorts to roll out."""
        return len(self.mine) or 1
