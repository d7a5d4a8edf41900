"""The protocol of objectives: scores of trained networks on labelled draws.

Shapes: R draws, T tasks, K labelled examples, N_0 inputs, C target columns.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from lit_lul.constraints import Checked
from lit_lul.networks.network import Network, Params


class Labelled(NamedTuple):
    """R draws of a labelled support and query batch of T tasks; K and K' may differ."""

    support_x: Tensor
    """(R, T, K, N_0)."""
    support_y: Tensor
    """The classes one-hot, then regression targets, (R, T, K, C)."""
    query_x: Tensor
    """(R, T, K', N_0)."""
    query_y: Tensor
    """(R, T, K', C)."""
    is_class: Tensor
    """A mask of the columns that are classes of the task, (T, C) bool."""
    is_target: Tensor
    """A mask of the columns that the task has, (T, C) bool; tasks of a cohort may differ."""
    unlabelled_x: Tensor | None = None
    """Unlabelled examples (T, B', N_0), for objectives that embed by their statistics."""


class Score(NamedTuple):
    """The score of T tasks."""

    loss: Tensor
    """Mean loss over the draws, (T,); NaN where it is undefined."""
    accuracy: Tensor
    """Share of query examples classified correctly, mean over the draws, (T,)."""


def accuracy(predictions: Tensor, labelled: Labelled) -> Tensor:
    """Share of the query examples whose class has the largest prediction (R, T, K', C), (R, T)."""
    other = ~labelled.is_class.unsqueeze(-2)
    guess = predictions.masked_fill(other, -torch.inf).argmax(-1)
    truth = labelled.query_y.masked_fill(other, -torch.inf).argmax(-1)
    return (guess == truth).to(predictions.dtype).mean(-1)


class Objective(Checked, ABC):
    """Scores φ; θ is trained to lower its loss."""

    needs_unlabelled: bool = False
    """Whether `Labelled.unlabelled_x` must be given in meta-training."""

    @abstractmethod
    def __call__(self, network: Network, params: Params, labelled: Labelled) -> Score:
        """Loss and accuracy of T tasks."""
