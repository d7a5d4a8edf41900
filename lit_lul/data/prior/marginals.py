"""Marginals: what the values of one input look like, given standard normal-like values.

Shapes: n rows, N inputs of one marginal.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def grey(x: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Values around a mean, cut off on both sides, as of grey pixels."""
    return (0.5 + 0.25 * x).clamp(0, 1)


def sparse(x: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Zero, save above a threshold, as of thin strokes or word counts."""
    return (x - level).clamp(0, 2) / 2


def binary(x: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Zero or one."""
    return (x > level).to(x.dtype)


def counts(x: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Poisson counts with a log-linear rate."""
    return torch.poisson((x - level).clamp(max=3).exp(), generator=generator)


def heavy(x: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Heavy tails on both sides."""
    return torch.sinh(1.2 * x.clamp(-6, 6))


def bounded(x: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Saturation at both ends."""
    return torch.sigmoid(2 * (x - 0.5 * level))


def plain(x: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Unchanged."""
    return x


MARGINALS: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    f.__name__: f for f in (grey, sparse, binary, counts, heavy, bounded, plain)
}
"""Marginals by name: functions of values (n, N), a level per input (N,) and a generator."""
