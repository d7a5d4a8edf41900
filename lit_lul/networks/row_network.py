"""The protocol of networks that embed rows, whose columns may be in any order.

Shapes: n rows, T tasks, N_0 inputs.
"""

from abc import abstractmethod
from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor

from lit_lul.networks.network import Network, Params, Statistics
from lit_lul.trees import Tree


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


def shares_of(chunks: Sequence[Tensor], like: Tensor) -> Tensor:
    """The share of the rows that each chunk has, (chunks, 1, 1, 1)."""
    total = sum(len(rows) for rows in chunks)
    return like.new_tensor([len(rows) / total for rows in chunks]).view(-1, 1, 1, 1)
