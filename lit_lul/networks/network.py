"""The protocols of networks: architectures whose parameters φ have a leading task axis.

Shapes: T tasks, B examples, n rows, N_0 inputs, E units of the embedding, the network's last layer.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
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


class Readout(StrEnum):
    """The layers of a network that are its embedding.

    Where they are more than the top layer, φ has a gain for each of them, `readout` (T, layers).
    """

    TOP = "top"
    LAYERS = "layers"
    """Every layer, without the inputs."""
    ALL = "all"
    """The inputs and every layer."""

    @property
    def first(self) -> int:
        """Index of the first layer that is read out, in a list with the inputs first."""
        return {"top": -1, "layers": 1, "all": 0}[self]

    def embed(self, params: Params, layers: Sequence[Tensor]) -> Tensor:
        """The embedding (..., T, B, units) from all layers (..., T, B, N_l), the inputs first."""
        if self is Readout.TOP:
            return layers[-1]
        gains = params["readout"].unbind(-1)
        scaled = [x * g[:, None, None] for x, g in zip(layers[self.first :], gains, strict=True)]
        return torch.cat(scaled, dim=-1)


class RowNetwork(Network):
    """A network of rows: what `lit_lul.apply_rule`, transformers and files of φ need of it."""

    sizes: tuple[int, ...]
    """Units of every layer, inputs first."""
    readout: Readout
    """What the embedding is."""

    def embed(self, params: Params, x: Tensor, statistics: Statistics | None = None) -> Tensor:
        """The embedding (..., T, B, `embedding_width`) of x (..., T, B, N_0)."""
        return self.readout.embed(params, self.activations(params, x, statistics).x)

    @property
    def embedding_width(self) -> int:
        """Number of features that `embed` gives."""
        return sum(self.sizes[self.readout.first :])

    @abstractmethod
    def receptive_fields(self, params: Params) -> Tensor:
        """What units are sensitive to, in the space of inputs, (T, N_0, units)."""

    @abstractmethod
    def reordered(self, tree: Tree, order: Tensor) -> Tree:
        """A learner's state, or φ, with the inputs of each task reordered by `order`, (T, N_0)."""

    @abstractmethod
    def statistics_of_chunks(self, params: Params, chunks: Sequence[Tensor]) -> Statistics:
        """The batch statistics of many rows, in chunks (n_i, N_0) that all tasks share."""


def check_order(name: str, bounds: tuple[int, int]) -> None:
    """Check that a lower bound is at most the upper one."""
    if bounds[0] > bounds[1]:
        raise InvalidInput(f"{name}[0] must be at most {name}[1], got {bounds[0]} and {bounds[1]}")


def shares_of(chunks: Sequence[Tensor], like: Tensor) -> Tensor:
    """The share of the rows that each chunk has, (chunks, 1, 1, 1)."""
    total = sum(len(rows) for rows in chunks)
    return like.new_tensor([len(rows) / total for rows in chunks]).view(-1, 1, 1, 1)


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
