"""VICReg (Bardes et al. 2022): equal embeddings of two corrupted copies, of full variance."""

import torch
from torch import Tensor

from studies.networks.encoder import Encode, Method
from studies.networks.training import Linear, new_linear

EXPANDER = 128
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
EPSILON = 1e-4


def start(_: int, embedding_units: int, generator: torch.Generator) -> tuple[Linear, Linear]:
    """A new expander of two layers."""
    below = new_linear(embedding_units, EXPANDER, generator)
    return below, new_linear(EXPANDER, EXPANDER, generator)


def loss(expander: tuple[Linear, Linear], encode: Encode, one: Tensor, other: Tensor) -> Tensor:
    """Invariance, variance and covariance terms of the expanded copies, (T,)."""
    below, above = expander
    z = [above(below(encode(rows)).relu()) for rows in (one, other)]
    total = INVARIANCE * (z[0] - z[1]).square().mean((-2, -1))
    for copy in z:
        deviation = (copy.var(-2) + EPSILON).sqrt()
        total = total + VARIANCE / 2 * (1 - deviation).relu().mean(-1)
        centred = copy - copy.mean(-2, keepdim=True)
        covariance = centred.mT @ centred / (copy.shape[-2] - 1)
        off_diagonal = covariance - torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
        total = total + COVARIANCE * off_diagonal.square().sum((-2, -1)) / copy.shape[-1]
    return total


VICREG = Method(start, loss, both_corrupted=True)
