"""Self-supervised training of the network that rules train, by losses of corrupted rows.

Every loss gets two versions of the rows (T, B, N_0), one or both corrupted, and the encoder; what
else it trains, such as a decoder, is drawn with the network. Features are the network's embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.evaluation.baselines import Baseline, Case
from lit_lul.evaluation.curve import embed_labelled
from lit_lul.networks.mlp import MLP, MLPParams
from lit_lul.trees import Tree
from studies.networks.training import Linear, new_linear, noise_generators, rescaled, train

STEPS = 300
"""Gradient steps; three times the minibatches of a rule in the suite."""
RATE = 1e-3
CORRUPTED = 0.6
"""Share of the inputs that are replaced, as in SCARF (Bahri et al. 2022)."""

Encode = Callable[[Tensor], Tensor]
"""From rows (T, B, N_0) to embeddings (T, B, E)."""
HIDDEN = (128, 128, 128)
HEAD = 128
TEMPERATURE = 1.0
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
EPSILON = 1e-4


@dataclass(frozen=True)
class Method:
    """A self-supervised method.

    Attributes:
        start: draws what is trained besides the encoder, from inputs, E and a generator.
        loss: the loss (T,) of that, the encoder, and two versions of the rows.
        both_corrupted: whether both versions are corrupted, or the first is the rows themselves.
    """

    start: Callable[[int, int, torch.Generator], Tree]
    loss: Callable[[Tree, Encode, Tensor, Tensor], Tensor]
    both_corrupted: bool


def accuracy(method: Method, case: Case, steps: int = STEPS) -> Tensor:
    """Train the network of every draw from where rules start, and probe it: (probes, T)."""
    draws, held_out, units = case.draws(), case.held_out, case.embedding_units
    inputs = draws.permutation.shape[1]
    network = held_out.networks.at(0.5, inputs, units)
    params = rescaled(draws.random_networks(network))
    rest = draws.from_seeds(lambda generator: method.start(inputs, units, generator))
    generators = noise_generators(draws.seeds)

    def loss() -> Tensor:
        x = draws.minibatch()
        first = corrupt(x, generators) if method.both_corrupted else x
        second = corrupt(x, generators)
        return method.loss(rest, lambda rows: network.embed(params, rows), first, second)

    def measure() -> dict[str, Tensor]:
        embedded = embed_labelled(held_out.protocol, case.ridge, network, params, draws)
        return dict(zip(held_out.probes, case.probe(embedded), strict=True))

    return torch.cat(list(train((params, rest), loss, RATE, [steps], measure).values()))


def corrupt(x: Tensor, generators: list[torch.Generator]) -> Tensor:
    """A copy of x (T, B, N_0) in which inputs are replaced by those of random other rows."""
    _, rows, inputs = x.shape
    other = [torch.randint(rows, (rows, inputs), generator=g) for g in generators]
    replaced = [torch.rand(rows, inputs, generator=g) < CORRUPTED for g in generators]
    return torch.where(torch.stack(replaced), x.gather(1, torch.stack(other)), x)


class Decoder(TypedDict):
    """A decoder of T draws."""

    layers: MLPParams
    pixels: Linear


def start_denoising(inputs: int, embedding_units: int, generator: torch.Generator) -> Decoder:
    """A new decoder: three layers of 128 units, then the inputs."""
    return {
        "layers": rescaled(MLP((embedding_units, *HIDDEN)).init(1, generator)),
        "pixels": new_linear(HIDDEN[-1], inputs, generator),
    }


def denoising_loss(decoder: Decoder, encode: Encode, x: Tensor, corrupted: Tensor) -> Tensor:
    """Mean squared error (T,) of a denoising autoencoder's rows (Vincent et al. 2008)."""
    u = encode(corrupted)
    hidden = MLP((u.shape[-1], *HIDDEN)).embed(decoder["layers"], u)
    return (decoder["pixels"](hidden) - x).square().mean((-2, -1))


DENOISING = Method(start_denoising, denoising_loss, both_corrupted=False)


def start_head(_: int, embedding_units: int, generator: torch.Generator) -> tuple[Linear, Linear]:
    """A new head of two layers of 128 units."""
    return new_linear(embedding_units, HEAD, generator), new_linear(HEAD, HEAD, generator)


def contrastive_loss(
    head: tuple[Linear, Linear], encode: Encode, x: Tensor, corrupted: Tensor
) -> Tensor:
    """Cross-entropy (T,) of finding a row's copy among all copies by the cosine, both ways.

    That is SCARF (Bahri et al. 2022).
    """
    below, above = head
    clean, other = (
        F.normalize(above(below(encode(rows)).relu()), dim=-1) for rows in (x, corrupted)
    )
    similarity = clean @ other.mT / TEMPERATURE
    own = similarity.diagonal(dim1=-2, dim2=-1)
    return torch.stack([s.logsumexp(-1) - own for s in (similarity, similarity.mT)]).mean((0, -1))


CONTRASTIVE = Method(start_head, contrastive_loss, both_corrupted=False)


def vicreg_loss(
    expander: tuple[Linear, Linear], encode: Encode, one: Tensor, other: Tensor
) -> Tensor:
    """Invariance, variance and covariance terms (T,) of the expanded copies (Bardes et al. 2022).

    Copies have equal embeddings, of full variance.
    """
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


VICREG = Method(start_head, vicreg_loss, both_corrupted=True)


METHODS = {"denoising": DENOISING, "contrastive": CONTRASTIVE, "VICReg": VICREG}
SELF_SUPERVISED = {n: Baseline(partial(accuracy, one), STEPS) for n, one in METHODS.items()}
"""Baselines that train the network of rules by gradients."""
