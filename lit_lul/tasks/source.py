"""What a source of tasks is: it plans truncations on the CPU and realises them on a device.

Shapes: U inner steps, T tasks, B examples, R draws, N_0 inputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch
from lit_lul.objectives.objective import Labelled
from lit_lul.tasks.sizes import Sizes
from lit_lul.trees import Tree

STEPS_AT_ONCE = 8
"""Inner steps whose inputs are made together: enough to be fast, few enough for long rollouts."""


class Family(NamedTuple):
    """A kind of task; metrics are kept for each."""

    name: str
    ways: int
    """Classes of one task."""
    weight: float
    """Share of the cohorts, relative to the weights of all other families."""


class Seeds(NamedTuple):
    """Where the random numbers of one truncation come from; each is a key of `default_rng`."""

    tasks: list[int]
    """The same for every truncation of a cohort's tasks."""
    truncation: list[int]
    """This truncation's own."""


class TaskSource(ABC):
    """Tasks of one number of inputs."""

    inputs: int
    """N_0."""
    families: Sequence[Family]
    """Kinds of task; all tasks of a cohort are of one of them."""

    @abstractmethod
    def plan(self, family: Family, steps: int, sizes: Sizes, seeds: Seeds) -> Tree:
        """Draw all that is random about a truncation: a tree of small tensors on the CPU.

        Args:
            family: one of `families`.
            steps: U.
            sizes: of the tasks.
            seeds: all randomness follows from them.
        """

    @abstractmethod
    def realise(self, plan: Tree, device: torch.device) -> tuple["Batches", Labelled]:
        """Make what the learner and the objective see.

        Args:
            plan: what `plan` gave, on the device.
            device: where the tensors go.
        """


class Batches:
    """The minibatches of U inner steps, made a few steps at a time whenever they are iterated.

    Args:
        steps: U.
        make: gives x (steps, T, B, N_0) of a slice of the inner steps; the same every time.
    """

    def __init__(self, steps: int, make: Callable[[slice], Tensor]) -> None:
        self.steps, self.make = steps, make

    def __len__(self) -> int:
        """U."""
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        """One minibatch after another."""
        for first in range(0, self.steps, STEPS_AT_ONCE):
            for x in self.make(slice(first, min(first + STEPS_AT_ONCE, self.steps))):
                yield Batch(x)


class Source(ABC):
    """A source of tasks as a configuration names it.

    A dataclass, whose `weight` is its share of the cohorts.
    """

    weight: float

    @abstractmethod
    def load(self, name: str, data_root: str | None) -> tuple[TaskSource, TaskSource | None]:
        """The tasks of training, and those of validation where some are kept apart.

        Args:
            name: first part of the families' names.
            data_root: folder that is searched for datasets first.

        Raises:
            InvalidInput: when the data cannot be had, or are too few for the tasks asked for.
        """


def check_mixture(what: str, ways: Sequence[int], weight: float) -> None:
    """Check what sources of classes have in common.

    Raises:
        InvalidInput: for ways below two, or a negative weight.
    """
    if not ways or min(ways) < 2:
        raise InvalidInput(f"{what} ways {list(ways)}: expected numbers of two or more")
    if weight < 0:
        raise InvalidInput(f"{what} weight {weight}: expected zero or more")
