"""Masks shared by all examples of a task (appendix H.1.1)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_lul.tasks.transforms.transform import Tasks, Transform
from lit_lul.trees import Tree


@dataclass(frozen=True)
class TaskMask(Transform):
    """Sets random inputs to zero in some tasks, the same ones in all examples (H.1.1).

    Raises:
        InvalidInput: for a share outside 0 to 1.
    """

    share: float = 0.25
    """Share of the tasks that mask inputs."""
    largest: float = 0.5
    """Upper bound of the probability that an input is masked; each task draws its own."""

    def __post_init__(self) -> None:
        self.check_shares("share", "largest")

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """Which inputs are kept, (T, N_0), 0 or 1."""
        masked = rng.random(tasks.count) < self.share
        probability = rng.uniform(0, self.largest, tasks.count) * masked
        keep = rng.random((tasks.count, tasks.inputs)) >= probability[:, None]
        return torch.from_numpy(keep.astype(np.float32)) if masked.any() else None

    def apply(self, x: Tensor, task: Tensor, examples: Tree) -> Tensor:
        """Set masked inputs to zero."""
        return x * task.unsqueeze(-2)
