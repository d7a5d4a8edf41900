"""Distances of inputs from prototypes, and how prototypes share an input.

Shapes: T tasks, B examples, N_0 inputs, K prototypes.
"""

import torch
from torch import Tensor

WINNERS = 5
"""Prototypes that share an input."""
EPS = 1e-9
"""Added to squared distances and mean squares before they are divided by or their root is taken."""


def squared_distances(x: Tensor, prototypes: Tensor, scales: Tensor) -> Tensor:
    """Squared distances of inputs (..., T, B, N_0) from prototypes (T, N_0, K): (..., T, B, K).

    Args:
        x: the inputs.
        prototypes: the prototypes.
        scales: factors of the inputs, (T, N_0).
    """
    x, prototypes = x * scales.unsqueeze(-2), prototypes * scales.unsqueeze(-1)
    lengths = x.square().sum(-1, keepdim=True) + prototypes.square().sum(-2, keepdim=True)
    return (lengths - 2 * (x @ prototypes)).clamp(min=0)


def shares(square: Tensor) -> Tensor:
    """Shares that prototypes have of an input, (..., K): the nearest few some, all others none.

    A share falls linearly with the squared distance, to 0 at the nearest prototype without one: so
    shares do not depend on how dense inputs are. They add up to 1.

    Args:
        square: squared distances from the prototypes, (..., K).
    """
    if square.shape[-1] == 1:
        return torch.ones_like(square)
    count = min(WINNERS, square.shape[-1] - 1)
    nearest = square.topk(count + 1, dim=-1, largest=False).values
    first, without = nearest[..., :1], nearest[..., -1:]
    near = (1 - (square - first) / (without - first).clamp(min=EPS)).clamp(min=0)
    return near / near.sum(-1, keepdim=True)
