"""What an objective is: it scores a trained network on labelled draws.

Shapes: R draws, T tasks, K labelled examples, N_0 inputs, C target columns.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from lit_lul.networks.network import Network, Params


class Labelled(NamedTuple):
    """R draws of the two labelled batches of T tasks; their sizes K and K' may differ."""

    support_x: Tensor
    """(R, T, K, N_0)."""
    support_y: Tensor
    """The classes one-hot, then regression targets, (R, T, K, C)."""
    query_x: Tensor
    """(R, T, K', N_0)."""
    query_y: Tensor
    """(R, T, K', C)."""
    is_class: Tensor
    """Which columns are classes of the task, (T, C) bool."""
    is_target: Tensor
    """Which columns the task has, (T, C) bool: tasks of a cohort may have unlike columns."""


class Score(NamedTuple):
    """What an objective says of T tasks."""

    loss: Tensor
    """Mean over the draws, (T,); NaN where it has no value."""
    accuracy: Tensor
    """Share of query examples put into their class, mean over the draws, (T,)."""


class Objective(ABC):
    """Scores φ; the gradient of its loss is what moves θ."""

    @abstractmethod
    def __call__(self, network: Network, params: Params, labelled: Labelled) -> Score:
        """Loss and accuracy of T tasks."""
