"""The protocol of estimators: from an unroll and its score to a gradient of θ."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from lit_lul.constraints import Checked
from lit_lul.learners.learner import Batch, Learner
from lit_lul.networks.network import Network
from lit_lul.objectives.objective import Labelled, Objective, Score
from lit_lul.trees import Tree

Carry: TypeAlias = Tree
"""What a cohort keeps between truncations: states of the learner and sums of the estimator; a tree
of detached tensors."""


class Minibatches(Protocol):
    """The batches of U inner steps; iterating again gives the same batches."""

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
    """The batches of U inner steps."""
    labelled: Labelled
    """Labelled examples for the objective, after the last step."""
    start_seed: int
    """Seeds the state of new tasks."""
    noise_seed: int
    """Seeds the estimator's own draws."""


class Outcome(NamedTuple):
    """The result of an estimator for one truncation."""

    gradient: Tensor
    """Estimated gradient of the mean loss, one vector in the order of `learner.parameters()`."""
    carry: Carry
    """Where the cohort's next truncation starts."""
    score: Score
    """Score of T tasks after the last inner step, detached."""


class Estimator(Checked, ABC):
    """Estimates the gradient of θ from one truncation."""

    @property
    def carries(self) -> str:
        """Names the form of the carry; a run must be resumed by an estimator of the same one."""
        return type(self).__name__

    @abstractmethod
    def __call__(
        self, learner: Learner, objective: Objective, carry: Carry | None, truncation: Truncation
    ) -> Outcome:
        """Run a truncation.

        Args:
            learner: its θ is not changed.
            objective: scores the network after the last step.
            carry: from the cohort's last truncation; None for new tasks.
            truncation: the network, batches and labelled examples.
        """


def seeded(seed: int, device: torch.device) -> torch.Generator:
    """A seeded generator on a device."""
    return torch.Generator(device).manual_seed(seed)
