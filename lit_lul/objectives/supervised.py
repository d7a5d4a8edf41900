"""Objectives that take the network's outputs as predictions: cross-entropy and squared error.

Shapes: R draws, T tasks, K examples, E outputs, C target columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.networks.network import Network, Params
from lit_lul.objectives.objective import Labelled, Objective, Score


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
        other = ~labelled.is_class.unsqueeze(-2)
        outputs = predict(network, params, labelled.query_x, labelled.query_y)
        logits = outputs.masked_fill(other, torch.finfo(outputs.dtype).min)
        y = labelled.query_y.masked_fill(other, 0.0)
        hits = (logits.argmax(-1) == y.argmax(-1)).to(outputs.dtype).mean(-1)
        return Score(cross_entropy(logits, y).mean(0), hits.mean(0))


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


def predict(network: Network, params: Params, x: Tensor, y: Tensor) -> Tensor:
    """The network's predictions (..., T, K, C) of targets y (..., T, K, C): its first C outputs.

    Raises:
        InvalidInput: when the network has fewer outputs.
    """
    columns = y.shape[-1]
    if network.outputs < columns:
        raise InvalidInput(
            f"network with {network.outputs} outputs: tasks with {columns} target columns expect "
            "as many, or more"
        )
    return network.embed(params, x)[..., :columns]
