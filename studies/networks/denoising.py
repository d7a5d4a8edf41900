"""Denoising autoencoder (Vincent et al. 2008): rows from their corrupted copies."""

from typing import TypedDict

import torch
from torch import Tensor

from lit_lul.networks.mlp import MLP, MLPParams
from studies.networks.encoder import Encode, Method
from studies.networks.training import Linear, new_linear, rescaled

HIDDEN = (128, 128, 128)


class Decoder(TypedDict):
    """A decoder of T draws."""

    layers: MLPParams
    pixels: Linear


def start(inputs: int, embedding_units: int, generator: torch.Generator) -> Decoder:
    """A new decoder: three layers of 128 units, then the inputs."""
    return {
        "layers": rescaled(MLP((embedding_units, *HIDDEN)).init(1, generator)),
        "pixels": new_linear(HIDDEN[-1], inputs, generator),
    }


def loss(decoder: Decoder, encode: Encode, x: Tensor, corrupted: Tensor) -> Tensor:
    """Mean squared error of the decoded rows, (T,)."""
    u = encode(corrupted)
    hidden = MLP((u.shape[-1], *HIDDEN)).embed(decoder["layers"], u)
    return (decoder["pixels"](hidden) - x).square().mean((-2, -1))


DENOISING = Method(start, loss, both_corrupted=False)
