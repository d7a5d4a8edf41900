"""Cross-entropy and squared error of the network's outputs, and cross-entropy of prototypes.

Shapes: R draws, T tasks, K and K' support and query examples, E outputs, C target columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.networks.network import Network, Params
from lit_lul.objectives.objective import Labelled, Objective, Score, accuracy
from lit_lul.precision import full_precision


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy over examples (...), of logits and one-hot classes (..., K, C)."""
    return -(y * outputs.log_softmax(-1)).sum(-1).mean(-1)


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean over examples (...) of the squared distance of outputs and targets (..., K, C)."""
    return (outputs - y).square().sum(-1).mean(-1)


Loss: TypeAlias = Literal["cross_entropy", "squared_error"]
LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
}
"""Losses of outputs and targets by name; learners with an inner loss name one of them too."""


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Mean cross-entropy of the network's outputs on the query examples.

    Targets that are not classes, and outputs beyond the classes, do not count.
    """

    def __call__(self, network: Network, params: Params, labelled: Labelled) -> Score:
        """Loss and accuracy of T tasks."""
        return _score(predict(network, params, labelled.query_x, labelled.query_y), labelled)


@dataclass(frozen=True)
class Prototypes(Objective):
    """Classification by the nearest class mean of the embedding (Snell et al. 2017).

    The loss is the cross-entropy of a softmax of negative squared distances to the class means.
    Support and query share their batch statistics. Targets that are not classes do not count.
    """

    def __call__(self, network: Network, params: Params, labelled: Labelled) -> Score:
        """Loss and accuracy of T tasks."""
        k = labelled.support_x.shape[-2]
        u = network.embed(params, torch.cat([labelled.support_x, labelled.query_x], dim=-2))
        support_u, query_u = u[..., :k, :], u[..., k:, :]
        support_y = labelled.support_y.masked_fill(~labelled.is_class.unsqueeze(-2), 0.0)
        with full_precision(u):
            counts = support_y.sum(-2).clamp(min=1).unsqueeze(-1)
            means = support_y.mT @ support_u / counts  # (R, T, C, E)
            distances = (query_u.unsqueeze(-2) - means.unsqueeze(-3)).square().sum(-1)
            return _score(-distances, labelled)


@dataclass(frozen=True)
class SquaredError(Objective):
    """Mean squared error of the network's outputs on the query examples.

    There is no accuracy: it is 0.
    """

    def __call__(self, network: Network, params: Params, labelled: Labelled) -> Score:
        """Loss of T tasks."""
        outputs = predict(network, params, labelled.query_x, labelled.query_y)
        loss = squared_error(outputs, labelled.query_y).mean(0)
        return Score(loss, torch.zeros_like(loss))


def _score(logits: Tensor, labelled: Labelled) -> Score:
    """Mean cross-entropy and accuracy of logits (R, T, K', C) of the query examples' classes."""
    other = ~labelled.is_class.unsqueeze(-2)
    y = labelled.query_y.masked_fill(other, 0.0)
    loss = cross_entropy(logits.masked_fill(other, torch.finfo(logits.dtype).min), y)
    return Score(loss.mean(0), accuracy(logits, labelled).mean(0))


def predict(network: Network, params: Params, x: Tensor, y: Tensor) -> Tensor:
    """The network's predictions (..., T, K, C) of targets y (..., T, K, C): its first C outputs.

    Raises:
        InvalidInput: when the network has fewer than C outputs.
    """
    columns = y.shape[-1]
    if network.outputs < columns:
        raise InvalidInput(
            f"network with {network.outputs} outputs: tasks with {columns} target columns expect "
            "as many, or more"
        )
    return network.embed(params, x)[..., :columns]
