"""What an estimator is: it turns an unroll and its score into a gradient of θ."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from lit_lul.learners.learner import Batch, Learner
from lit_lul.networks.network import Network
from lit_lul.objectives.objective import Labelled, Objective, Score
from lit_lul.trees import Tree

Carry: TypeAlias = Tree
"""What a cohort brings from one truncation to the next: learners' states and the estimator's own
sums; a tree of tensors without history."""


class Minibatches(Protocol):
    """What U inner steps see, one `Batch` each; the same whenever it is iterated."""

    def __len__(self) -> int:
        """U."""

    def __iter__(self) -> Iterator[Batch]:
        """One batch after another."""


@dataclass(frozen=True)
class Truncation:
    """One truncation of T tasks, as tensors on the device that trains."""

    network: Network
    tasks: int
    """T."""
    batches: Minibatches
    """One for each of U inner steps."""
    labelled: Labelled
    """What the objective sees after the last step."""
    start_seed: int
    """Seeds the state of new tasks."""
    noise_seed: int
    """Seeds what an estimator draws for this truncation."""


class Outcome(NamedTuple):
    """What an estimator makes of one truncation."""

    gradient: Tensor
    """An estimate of the gradient of the mean loss, all of θ as one vector in the order of
    `learner.parameters()`."""
    carry: Carry
    """Where the cohort's next truncation starts."""
    score: Score
    """Of T tasks after the last inner step, without history."""


class Estimator(ABC):
    """Estimates the gradient of θ from one truncation."""

    @property
    def carries(self) -> str:
        """What a carry is the carry of: runs are resumed by an estimator that says the same."""
        return type(self).__name__

    @abstractmethod
    def __call__(
        self, learner: Learner, objective: Objective, carry: Carry | None, truncation: Truncation
    ) -> Outcome:
        """Run a truncation.

        Args:
            learner: its θ is left as it is.
            objective: the score.
            carry: where the tasks stand; None for new tasks.
            truncation: what they see.
        """


def seeded(seed: int, device: torch.device) -> torch.Generator:
    """A generator on a device."""
    return torch.Generator(device).manual_seed(seed)


def device_of(learner: Learner) -> torch.device:
    """Where θ is."""
    return next(learner.parameters()).device
