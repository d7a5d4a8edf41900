"""Contrastive learning with corrupted inputs, as in SCARF (Bahri et al. 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from studies.networks.encoder import Encode, Method
from studies.networks.training import Linear, new_linear

HEAD = 128
TEMPERATURE = 1.0


def start(_: int, embedding_units: int, generator: torch.Generator) -> tuple[Linear, Linear]:
    """A new head of two layers."""
    return new_linear(embedding_units, HEAD, generator), new_linear(HEAD, HEAD, generator)


def loss(head: tuple[Linear, Linear], encode: Encode, x: Tensor, corrupted: Tensor) -> Tensor:
    """Cross-entropy (T,) of finding a row's copy among all copies by the cosine, both ways."""
    below, above = head
    clean, other = (
        F.normalize(above(below(encode(rows)).relu()), dim=-1) for rows in (x, corrupted)
    )
    similarity = clean @ other.mT / TEMPERATURE
    own = similarity.diagonal(dim1=-2, dim2=-1)
    return torch.stack([s.logsumexp(-1) - own for s in (similarity, similarity.mT)]).mean((0, -1))


CONTRASTIVE = Method(start, loss, both_corrupted=False)
