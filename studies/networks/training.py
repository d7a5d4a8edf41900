"""What neural baselines share: layers of T draws, and their training.

All parameters have the task axis T first. The loss is a sum over draws, and Adam works on every
number alone, so that the networks of different draws do not influence each other.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lit_lul.networks.mlp import WEIGHT_STD, MLPParams
from lit_lul.trees import Tree, tensors_of


class Linear(NamedTuple):
    """A linear layer of every draw."""

    weight: Tensor
    """(T, inputs, outputs)."""
    bias: Tensor
    """(T, 1, outputs)."""

    def __call__(self, x: Tensor) -> Tensor:
        """(T, B, inputs) to (T, B, outputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


def new_linear(inputs: int, outputs: int, generator: torch.Generator) -> Linear:
    """A layer of one draw, with weights of standard deviation 1/√inputs."""
    weight = torch.randn(1, inputs, outputs, generator=generator) / math.sqrt(inputs)
    return Linear(weight, torch.zeros(1, 1, outputs))


def rescaled(params: MLPParams) -> MLPParams:
    """Weights scaled to standard deviation 1/√inputs.

    Batch norm makes it the same function, which gradient steps change less abruptly.
    """
    factors = (1 / (WEIGHT_STD * math.sqrt(w.shape[-2])) for w in params["weights"])
    weights = tuple(w * factor for w, factor in zip(params["weights"], factors, strict=True))
    return {"weights": weights, "biases": params["biases"]}


def train(
    parameters: Tree,
    loss: Callable[[], Tensor],
    rate: float,
    probe_steps: Sequence[int],
    measure: Callable[[], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Train with Adam up to the last probe; what is measured at every probe, (steps, T) by name.

    Args:
        parameters: a tree of tensors, T first, which are changed in place.
        loss: the loss of a new minibatch of every draw, (T,).
        rate: the learning rate.
        probe_steps: steps to probe at, in increasing order; 0 is the start.
        measure: measures the networks, (T,) by name; it is called without gradients.
    """
    tensors = [tensor.requires_grad_() for _, tensor in tensors_of(parameters)]
    optimizer = torch.optim.Adam(tensors, lr=rate)
    found: dict[str, list[Tensor]] = {}
    done = 0
    for probe in probe_steps:
        while done < probe:
            optimizer.zero_grad()
            loss().sum().backward()
            optimizer.step()
            done += 1
        with torch.no_grad():
            for name, values in measure().items():
                found.setdefault(name, []).append(values.cpu())
    return {name: torch.stack(values) for name, values in found.items()}


def log_spaced(last: int) -> tuple[int, ...]:
    """The steps 0, 10, 30, 100, 300, ... and the last."""
    powers = (m * 10**k for k in range(1, len(str(last))) for m in (1, 3))
    return (0, *(step for step in powers if step < last), last)


def noise_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """A generator for the noise of every draw, with other numbers than its network's."""
    return [torch.Generator().manual_seed(seed + 1) for seed in seeds]


def normal(generators: Sequence[torch.Generator], *shape: int) -> Tensor:
    """Standard normal numbers (T, *shape), those of a draw from its own generator."""
    return torch.stack([torch.randn(*shape, generator=g) for g in generators])
