"""The protocol of networks that embed rows, whose columns may be in any order.

Shapes: n rows, T tasks, N_0 inputs.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from lit_lul.networks.network import Network, Params, Statistics
from lit_lul.trees import Tree


class RowNetwork(Network):
    """A network of rows: what `lit_lul.apply_rule`, transformers and files of φ need of it."""

    sizes: tuple[int, ...]
    """Units of every layer, inputs first."""

    def blank(self, tasks: int, read_out: bool) -> Params:
        """φ of the shapes that trained φ has, with other values.

        Args:
            tasks: T.
            read_out: whether trained φ says what is read out; some networks need not be told.
        """
        return self.init(tasks, torch.Generator())

    @abstractmethod
    def embedding_width(self, params: Params) -> int:
        """Number of features that `embed` gives."""

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
