"""Inversion of brightness: dark ink on light ground (not in H.1.1)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_lul.tasks.transforms.transform import Tasks, Transform
from lit_lul.trees import Tree


@dataclass(frozen=True)
class Inversion(Transform):
    """Replaces every input x of some tasks by 1 - x.

    Raises:
        InvalidInput: for a share outside 0 to 1.
    """

    share: float
    """Share of the tasks that are inverted."""

    def __post_init__(self) -> None:
        self.check_shares("share")

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """Which tasks are inverted, (T,), 0 or 1."""
        inverted = rng.random(tasks.count) < self.share
        return torch.from_numpy(inverted.astype(np.float32)) if inverted.any() else None

    def apply(self, x: Tensor, task: Tensor, examples: Tree) -> Tensor:
        """1 - x in inverted tasks, x in others."""
        inverted = task[:, None, None]
        return torch.addcmul(inverted, x, 1 - 2 * inverted)
