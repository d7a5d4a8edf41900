"""Self-supervised training of the network that rules train, by losses of corrupted rows.

Every loss gets two versions of the rows (T, B, N_0), one or both corrupted, and the encoder; what
else it trains, such as a decoder, is drawn with the network. Features are the network's embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.networks.network import Network
from lit_lul.trees import Tree
from studies.networks.training import noise_generators, rescaled, silent, train

STEPS = 300
"""Gradient steps; three times the minibatches of a rule in the suite."""
RATE = 1e-3
CORRUPTED = 0.6
"""Share of the inputs that are replaced, as in SCARF (Bahri et al. 2022)."""

Encode = Callable[[Tensor], Tensor]
"""From rows (T, B, N_0) to embeddings (T, B, E)."""


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


def train_encoder(
    method: Method,
    draws: Draws,
    held_out: HeldOut,
    embedding_units: int,
    steps: int,
    tell: Callable[[int], None] = silent,
) -> tuple[Network, Tree]:
    """Train the network of every draw, from where rules start.

    Args:
        method: what to train it for.
        draws: T draws, on the CPU.
        held_out: the network.
        embedding_units: E.
        steps: gradient steps.
        tell: called after every step with its number.

    Returns:
        The network and its φ.
    """
    inputs = draws.permutation.shape[1]
    network = held_out.networks.at(0.5, inputs, embedding_units)
    params = rescaled(draws.random_networks(network))
    rest = draws.from_seeds(lambda generator: method.start(inputs, embedding_units, generator))
    generators = noise_generators(draws.seeds)

    def loss() -> Tensor:
        x = draws.minibatch()
        first = corrupt(x, generators) if method.both_corrupted else x
        second = corrupt(x, generators)
        return method.loss(rest, lambda rows: network.embed(params, rows), first, second)

    for _ in train((params, rest), loss, RATE, [steps], tell):
        pass
    return network, params


def corrupt(x: Tensor, generators: list[torch.Generator]) -> Tensor:
    """A copy of x (T, B, N_0) in which inputs are replaced by those of random other rows."""
    _, rows, inputs = x.shape
    other = [torch.randint(rows, (rows, inputs), generator=g) for g in generators]
    replaced = [torch.rand(rows, inputs, generator=g) < CORRUPTED for g in generators]
    return torch.where(torch.stack(replaced), x.gather(1, torch.stack(other)), x)
