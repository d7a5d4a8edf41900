"""Which worlds are worth learning from: not solved by raw inputs, and not hopeless."""

from typing import Protocol

import torch
from torch import Tensor

LABELS = 10
"""Labelled rows per class for the few-shot check."""
MANY = 40
"""Labelled rows per class that tell whether a task can be learned at all."""
TESTS = 10
"""Test rows per class."""
SOLVED, HOPELESS = 0.97, 0.12
"""Few-shot accuracy of raw inputs above which a task is solved; accuracy from many labels, as a
share of the way from chance to 1, below which it is hopeless."""


class Generator(Protocol):
    """Draws rows (n, N_0) of given classes (n,)."""

    def __call__(self, members: Tensor, generator: torch.Generator) -> Tensor:
        """The rows."""


def is_useful(world: Generator, ways: int, seed: int) -> bool:
    """Whether the first `ways` classes of a world make a task that features can improve."""
    generator = torch.Generator().manual_seed(seed)
    few, many, test = (
        torch.arange(ways).repeat_interleave(count) for count in (LABELS, MANY, TESTS)
    )
    x_few, x_many, x_test = (world(members, generator) for members in (few, many, test))
    if ridge_accuracy(x_few, few, x_test, test) > SOLVED:
        return False
    chance = 1 / ways
    best = max(
        ridge_accuracy(x_many, many, x_test, test), nearest_accuracy(x_many, many, x_test, test)
    )
    return best > chance + HOPELESS * (1 - chance)


def ridge_accuracy(x: Tensor, labels: Tensor, x_test: Tensor, labels_test: Tensor) -> float:
    """Accuracy of a linear classifier with a small penalty on centred rows."""
    mean = x.mean(0)
    scale = (x - mean).square().sum(1).mean().sqrt().clamp(min=1e-6)
    x, x_test = (x - mean) / scale, (x_test - mean) / scale
    y = torch.nn.functional.one_hot(labels).to(x.dtype)
    kernel = x @ x.T + 0.01 * torch.eye(len(x))
    guess = x_test @ (x.T @ torch.linalg.solve(kernel, y - y.mean(0)))
    return float((guess.argmax(1) == labels_test).float().mean())


def nearest_accuracy(x: Tensor, labels: Tensor, x_test: Tensor, labels_test: Tensor) -> float:
    """Accuracy of the nearest labelled row."""
    return float((labels[torch.cdist(x_test, x).argmin(1)] == labels_test).float().mean())
