"""Features of a unit that computeH takes besides its activity: position and weights (G.8).

Shapes: T tasks, N_l units of layer l = 0..L.
"""

import math
from typing import Literal

import torch
from torch import Tensor


def unit_positions(
    positions: Literal["one_turn", "two_turns"], units: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Sine and cosine, (N, 1) each, of an angle that grows with the unit's index (App. 81-82)."""
    index = torch.arange(units, dtype=like.dtype, device=like.device).unsqueeze(-1)
    if positions == "one_turn":
        angle = index * (2 * math.pi / units)
    else:
        angle = index * (4 * math.pi / max(units - 1, 1))
    return angle.sin(), angle.cos()


def weight_statistics(weights: tuple[Tensor, ...], layer: int) -> Tensor:
    """Statistics of the weights into and out of every unit of one layer (App. 85-92).

    Args:
        weights: W^1..W^L.
        layer: l = 0..L. The first and last layer use their four existing statistics twice.

    Returns:
        (T, N_l, 8): four of the incoming and four of the outgoing weights, scaled together to mean
        square 1 over the layer.
    """
    incoming = _statistics(weights[layer - 1], dim=1) if layer > 0 else None
    outgoing = _statistics(weights[layer], dim=2) if layer < len(weights) else None
    both = [s for s in (incoming, outgoing) if s is not None]
    statistics = torch.cat([both[0], both[-1]], dim=-1)
    return statistics * torch.rsqrt(statistics.square().mean((1, 2), keepdim=True) + 1e-6)


def _statistics(weight: Tensor, dim: int) -> Tensor:
    mean = weight.mean(dim, keepdim=True)
    variance = (weight - mean).square().mean(dim)  # `torch.var_mean` is several times slower
    return torch.stack(
        [
            weight.abs().mean(dim),
            (weight.square().mean(dim) + 1e-6).sqrt(),
            mean.squeeze(dim),
            (variance + 1e-8).sqrt(),
        ],
        dim=-1,
    )
