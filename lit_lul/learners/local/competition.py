"""The plasticity of `CompetitiveRule`: components, and prototypes that compete for inputs.

Shapes: T tasks, B examples, N_0 inputs, E components, K prototypes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.networks.distances import EPS, squared_distances

FREE = 0.05
"""A prototype that has won less than this share of what the mean prototype has is free."""
SLOWEST = 1e-6
"""Added to the mean square of a component, relative to that of the inputs, that its change is
divided by."""


def sanger(w: Tensor, x: Tensor) -> Tensor:
    """The change of weights (T, N_0, E) by centred inputs (T, B, N_0), before the rate."""
    x = x * torch.rsqrt(x.square().sum(-1, keepdim=True).mean(-2, keepdim=True) + EPS)
    y = x @ w
    together = y.mT @ y / y.shape[-2]
    own = torch.diagonal(together, dim1=-2, dim2=-1).unsqueeze(-2)
    return (x.mT @ y / y.shape[-2] - w @ together.triu()) / (own + SLOWEST)


def distances_of_used(x: Tensor, prototypes: Tensor, wins: Tensor, scales: Tensor) -> Tensor:
    """Squared distances (T, B, K) of inputs; those of prototypes without a win are very large."""
    square = squared_distances(x, prototypes, scales)
    unused = (wins <= 0).unsqueeze(-2)
    return square.masked_fill(unused, torch.finfo(x.dtype).max / 4)


def occupy(prototypes: Tensor, wins: Tensor, x: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Prototypes and their wins, where free ones have taken inputs, those farthest from all first.

    At most B do in one step.
    """
    free = wins <= FREE * wins.mean(-1, keepdim=True)
    nearest = distances_of_used(x, prototypes, wins, scales).amin(-1)
    farthest_first = torch.argsort(nearest, dim=-1, descending=True, stable=True)
    place = free.long().cumsum(-1) - 1
    taking = free & (place < x.shape[-2])
    row = farthest_first.gather(-1, place.clamp(0, x.shape[-2] - 1))
    taken = x.gather(-2, row.unsqueeze(-1).expand(*row.shape, x.shape[-1])).mT
    return torch.where(taking.unsqueeze(-2), taken, prototypes), wins.masked_fill(taking, EPS)


def move_winners(
    prototypes: Tensor, wins: Tensor, x: Tensor, square: Tensor
) -> tuple[Tensor, Tensor]:
    """Prototypes and their wins after the nearest have won the inputs."""
    won = F.one_hot(square.argmin(-1), wins.shape[-1]).to(x.dtype)
    total = won.sum(-2)
    wins = wins + total
    change = (x.mT @ won - prototypes * total.unsqueeze(-2)) / wins.clamp(min=EPS).unsqueeze(-2)
    return prototypes + change, wins
