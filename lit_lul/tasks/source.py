"""The protocol of task sources: they plan truncations on the CPU and make them on a device.

Shapes: U inner steps, T tasks, B examples, R draws, N_0 inputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, NamedTuple, TypeAlias

import torch
from torch import Tensor

from lit_lul.constraints import Bounds, Checked, Length, check_arguments
from lit_lul.learners.learner import Batch
from lit_lul.objectives.objective import Labelled
from lit_lul.tasks.schedules import Weight, WeightSchedule
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.trees import Tree

STEPS_AT_ONCE = 8
"""Inner steps whose inputs are made together: enough to be fast, few enough to save memory."""


class Family(NamedTuple):
    """A kind of task, with metrics of its own."""

    name: str
    ways: int
    """Classes of one task, or the most that it may have."""
    weight: Weight
    """Share of the cohorts, relative to the weights of all other families."""
    inputs: int
    """N_0."""


class Seeds(NamedTuple):
    """Seeds of one truncation, each for `numpy.random.default_rng`."""

    tasks: list[int]
    """The same for all truncations of a cohort's tasks."""
    truncation: list[int]
    """Different for every truncation."""


class TaskSource(ABC):
    """Tasks of one or more families."""

    families: Sequence[Family]
    """Kinds of task; all tasks of a cohort belong to one of them."""

    @abstractmethod
    def plan(self, family: Family, steps: int, sizes: ProblemSizes, seeds: Seeds) -> Tree:
        """Draw all that is random about a truncation: a tree of small tensors on the CPU.

        Args:
            family: one of `families`.
            steps: U.
            sizes: sizes of the problem, the same for all truncations of a cohort's tasks.
            seeds: determine everything random.
        """

    @abstractmethod
    def realise(self, plan: Tree, device: torch.device) -> tuple["Batches", Labelled]:
        """Make the batches of the learner and the labelled examples of the objective.

        Batches have targets where the source knows them; learners without labels do not get them.

        Args:
            plan: from `plan`, on the device.
            device: the device of the tensors.
        """


class Batches:
    """The minibatches of U inner steps, made lazily, a few steps at a time.

    Args:
        steps: U.
        make: returns x (steps, T, B, N_0) of a slice of the inner steps, the same every time.
        targets: returns y (steps, T, B, C) of a slice; None for batches without labels.
    """

    def __init__(
        self,
        steps: int,
        make: Callable[[slice], Tensor],
        targets: Callable[[slice], Tensor] | None = None,
    ) -> None:
        self.steps, self.make, self.targets = steps, make, targets

    def __len__(self) -> int:
        """U."""
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        """One minibatch after another."""
        for first in range(0, self.steps, STEPS_AT_ONCE):
            some = slice(first, min(first + STEPS_AT_ONCE, self.steps))
            if self.targets is None:
                yield from map(Batch, self.make(some))
            else:
                yield from map(Batch, self.make(some), self.targets(some))


def one_hot(members: Tensor, ways: int) -> Tensor:
    """Classes (...) as float columns (..., ways); zeros for a class that is not labelled."""
    return (members.unsqueeze(-1) == torch.arange(ways, device=members.device)).float()


TwoOrMore: TypeAlias = Annotated[int, Bounds(ge=2)]
Families: TypeAlias = Annotated[list[TwoOrMore], Length(1)]
"""Numbers of classes, or of inputs, of a task; each is a family."""


class Source(Checked, ABC):
    """Configuration of a task source: a dataclass whose `weight` is its share of the cohorts."""

    weight: Weight

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.weight, WeightSchedule):
            prefix = f"{type(self).__name__}.weight."
            check_arguments(WeightSchedule, vars(self.weight), prefix)

    @abstractmethod
    def load(self, name: str, data_root: str | None) -> tuple[TaskSource, TaskSource | None]:
        """The tasks of training, and those of validation if the source has any.

        Args:
            name: prefix of the families' names.
            data_root: folder that is searched for datasets first.

        Raises:
            InvalidInput: when the data cannot be loaded or are too few for the tasks.
        """
