"""Data loaders for Lightning: the stream of a run, and rollouts."""

from collections.abc import Iterator
from typing import Any

from lit_lul.tasks.plan import Plan
from lit_lul.tasks.stream import TaskStream
from lit_lul.training.ranks import gather


class Item:
    """One item of a loader; a plain object, which Lightning passes on unchanged.

    Args:
        plan: the plan of a truncation.
        counted: whether metrics count it.
    """

    def __init__(self, plan: Plan, counted: bool) -> None:
        self.plan, self.counted = plan, counted


class StreamLoader:
    """Loads a stream of truncations; Lightning saves and resumes it.

    Args:
        stream: this rank's stream.
        length: truncations of the complete run, counted from its start; None for no end.
    """

    def __init__(self, stream: TaskStream, length: int | None) -> None:
        self.stream, self.length = stream, length

    def __iter__(self) -> Iterator[Item]:
        """Plans from the last used truncation on; all of them count."""
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
        """The state of the stream; all ranks must call it, rank 0 gets all ranks' cohorts."""
        mine = self.stream.state_dict()
        return mine | {"slots": [slot for rank in gather(mine) for slot in rank["slots"]]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a state, with this rank's cohorts."""
        self.stream.load_state_dict(state_dict)


class RolloutLoader:
    """Loads one long truncation of each of some cohorts, from new states.

    Args:
        stream: its number of cohorts must be that of all ranks together.
        seed: seed of the tasks.
        steps: inner steps of each rollout.
        mine: numbers of this rank's cohorts.
    """

    def __init__(self, stream: TaskStream, seed: int, steps: int, mine: range) -> None:
        self.stream, self.seed, self.steps, self.mine = stream, seed, steps, mine

    def __iter__(self) -> Iterator[Item]:
        """Each plan, and whether it counts."""
        plans = self.stream.rollouts(self.seed, self.steps, self.mine or range(1))
        return (Item(plan, bool(self.mine)) for plan in plans)

    def __len__(self) -> int:
        """Number of rollouts."""
        return len(self.mine) or 1
