"""Variational autoencoder, the paper's baseline (section 5.1, H.3.1).

Encoder of three layers of 128 units (linear, batch norm, relu) to mean and log-deviation of a code
of 32; decoder of the same layers to mean and log-deviation of every input, whose likelihood is a
normal distribution quantised to 256 levels. The features are the mean of the code. Batch norm has
no gain, which the linear layer above makes superfluous.
"""

import math
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from lit_lul.evaluation.curve import embed_labelled
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.probes import probe, ridge_of
from lit_lul.networks.mlp import MLP, MLPParams
from lit_lul.objectives.objective import Objective
from studies.networks.training import Linear, new_linear, noise_generators, normal, rescaled, train

HIDDEN = (128, 128, 128)
CODE = 32
BOUND = "bound"
"""Name of the evidence lower bound among what is measured."""
RATE = 1e-4
LEVELS = 256
SMALLEST_DEVIATION = 1 / (2 * LEVELS)
"""Smallest standard deviation of an input; smaller deviations would be within a level."""
TAIL = -10.0
"""Below it the distribution function has an asymptotic series."""
SMALLEST_DIFFERENCE = 1e-6
"""Smallest difference of logarithms of the distribution function, for rounding."""


class VAEParams(TypedDict):
    """Parameters of T autoencoders."""

    encoder: MLPParams
    code: Linear
    """To mean and log-deviation of the code."""
    decoder: MLPParams
    pixels: Linear
    """To mean and log-deviation of every input."""


def train_vae(
    objective: Objective,
    data: HeldOutData,
    held_out: HeldOut,
    numbers: Sequence[int],
    probe_steps: Sequence[int],
    device: torch.device = torch.device("cpu"),
) -> dict[str, Tensor]:
    """Train an autoencoder on each of some draws, and probe the means of its code.

    Args:
        objective: determines the ridge, see `lit_lul.evaluation.probes.ridge_of`.
        data: unlabelled rows to train on and labelled rows to probe with.
        held_out: batch size, protocol and probes; its networks and inner steps are not used.
        numbers: numbers of the draws.
        probe_steps: gradient steps to probe at.
        device: where to train.

    Returns:
        Accuracy by name of the probe, and as `BOUND` the evidence lower bound of unlabelled rows in
        nats per row, each (steps, T).

    Raises:
        InvalidInput: when a class has too few examples.
    """
    draws = Draws(data, held_out, numbers, torch.empty(0, device=device))
    inputs, ridge = data.x.shape[1], ridge_of(objective)
    params: VAEParams = draws.from_seeds(lambda generator: new_vae(inputs, generator))
    generators = noise_generators(draws.seeds)
    watched = draws.statistics_rows()
    watched_noise = normal(generators, watched.shape[1], CODE).to(device)

    def loss() -> Tensor:
        x = draws.minibatch()
        return -lower_bound(params, x, normal(generators, x.shape[1], CODE).to(device)).mean(-1)

    def measure() -> dict[str, Tensor]:
        encoder = MLP((inputs, *HIDDEN))
        hidden = embed_labelled(held_out.protocol, ridge, encoder, params["encoder"], draws)
        means = (params["code"](u)[..., :CODE] for u in hidden)
        accuracy = probe(held_out.probes, ridge, draws, *means)
        bound = lower_bound(params, watched, watched_noise).mean(-1)
        return {**dict(zip(held_out.probes, accuracy, strict=True)), BOUND: bound}

    return train(params, loss, RATE, probe_steps, measure)


def new_vae(inputs: int, generator: torch.Generator) -> VAEParams:
    """Parameters of one autoencoder."""
    return {
        "encoder": rescaled(MLP((inputs, *HIDDEN)).init(1, generator)),
        "code": new_linear(HIDDEN[-1], 2 * CODE, generator),
        "decoder": rescaled(MLP((CODE, *HIDDEN)).init(1, generator)),
        "pixels": new_linear(HIDDEN[-1], 2 * inputs, generator),
    }


def lower_bound(params: VAEParams, x: Tensor, noise: Tensor) -> Tensor:
    """The evidence lower bound (T, B) of rows x (T, B, N_0) in [0, 1], in nats.

    Args:
        params: the autoencoders.
        x: the rows, which share their batch statistics.
        noise: standard normal, (T, B, code), of the one sample of each code.
    """
    inputs = x.shape[-1]
    hidden = MLP((inputs, *HIDDEN)).embed(params["encoder"], x)
    mean, log_deviation = params["code"](hidden).chunk(2, -1)
    code = mean + log_deviation.exp() * noise
    decoded = params["pixels"](MLP((CODE, *HIDDEN)).embed(params["decoder"], code))
    likelihood = log_likelihood(x, *decoded.chunk(2, -1)).sum(-1)
    divergence = 0.5 * (mean**2 + (2 * log_deviation).exp() - 1) - log_deviation
    bound: Tensor = likelihood - divergence.sum(-1)
    return bound


def log_likelihood(x: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Log-probability of x among the levels 0, 1/255, ..., 1: the normal mass of its bin.

    The outer bins are open, so that the levels' probabilities sum to 1. The difference of the
    distribution function at the edges is computed in the lower tail, where it is accurate.
    """
    level = (x * (LEVELS - 1)).round()
    deviation = log_deviation.exp().clamp(min=SMALLEST_DEVIATION)
    lower, upper = (((level + half) / (LEVELS - 1) - mean) / deviation for half in (-0.5, 0.5))
    lower = torch.where(level <= 0, -torch.inf, lower)
    upper = torch.where(level >= LEVELS - 1, torch.inf, upper)
    right = lower + upper > 0
    lower, upper = torch.where(right, -upper, lower), torch.where(right, -lower, upper)
    log_upper, log_lower = log_cumulative(upper), log_cumulative(lower)
    difference = (log_lower - log_upper).clamp(max=-SMALLEST_DIFFERENCE)
    found: Tensor = log_upper + (-difference.expm1()).log()
    return found


def log_cumulative(z: Tensor) -> Tensor:
    """Log of the standard normal distribution function.

    `torch.special.log_ndtr` is the same and thirty times slower on a CPU.
    """
    near = torch.erfc(-z.clamp(min=TAIL) / math.sqrt(2)).log() - math.log(2)
    squared = z.clamp(max=TAIL) ** 2
    series = torch.log1p((-1 + (3 - 15 / squared) / squared) / squared)
    far = -0.5 * (squared + squared.log() + math.log(2 * math.pi)) + series
    return torch.where(z < TAIL, far, near)
