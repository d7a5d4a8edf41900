"""The protocol of networks: architectures whose parameters φ have a leading task axis.

Shapes: T tasks, B examples, N_0 inputs, E units of the embedding, the network's last layer.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from lit_lul.trees import Tree

Params: TypeAlias = Tree
"""φ of T tasks: a tree of tensors, T first."""
Statistics: TypeAlias = Tree
"""Batch statistics of all layers, to embed other examples with; T first."""


class Activations(NamedTuple):
    """All layers of one forward pass (App. 16); index l = 0..L holds layer l."""

    x: tuple[Tensor, ...]
    """x^0..x^L, (..., T, B, N_l); x^0 is the input."""
    z: tuple[Tensor, ...]
    """z^0..z^L before the nonlinearity, (..., T, B, N_l); z^0 is the input again (G.8)."""


class Network(ABC):
    """An architecture without parameters of its own: φ is passed to its methods.

    Networks that compare equal take the same φ.
    """

    inputs: int
    """N_0."""
    outputs: int
    """E, the width of the embedding."""

    @property
    @abstractmethod
    def cost(self) -> float:
        """Cost of an inner step of one task, relative to other networks of the same class."""

    @abstractmethod
    def init(
        self, tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> Params:
        """Draw φ of T = `tasks` tasks on the generator's device."""

    @abstractmethod
    def activations(
        self, params: Params, x: Tensor, statistics: Statistics | None = None
    ) -> Activations:
        """All layers of x (..., T, B, N_0).

        Args:
            params: φ of T tasks.
            x: a batch of every task.
            statistics: those of another batch, from `statistics`; None for the batch's own.
        """

    @abstractmethod
    def statistics(self, params: Params, x: Tensor) -> Statistics:
        """The batch statistics of every layer on x (T, B, N_0)."""

    def embed(self, params: Params, x: Tensor, statistics: Statistics | None = None) -> Tensor:
        """The embedding x^L (..., T, B, E) of x (..., T, B, N_0) (App. 17)."""
        return self.activations(params, x, statistics).x[-1]


class Networks(ABC):
    """A set of networks that cohorts of tasks draw from, as a configuration names it."""

    @abstractmethod
    def at(self, quantile: float, inputs: int, outputs: int) -> Network:
        """The network at a quantile of the set, sorted by cost.

        Args:
            quantile: 0 to 1; uniform quantiles must give the intended distribution.
            inputs: N_0.
            outputs: E.
        """
