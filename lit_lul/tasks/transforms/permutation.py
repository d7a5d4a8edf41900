"""Permutation of the inputs, different for every task (appendix H.1.1)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_lul.tasks.transforms.transform import Tasks, Transform
from lit_lul.trees import Tree


@dataclass(frozen=True)
class Permutation(Transform):
    """Permutes the inputs, with one permutation for all examples of a task (H.1.1).

    Raises:
        InvalidInput: for a share outside 0 to 1.
    """

    share: float = 1.0
    """Share of the tasks that permute their inputs."""

    def __post_init__(self) -> None:
        self.check_shares("share")

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """The source index of every input, (T, N_0) int64."""
        permuted = rng.random(tasks.count) < self.share
        identity = np.broadcast_to(np.arange(tasks.inputs), (tasks.count, tasks.inputs))
        order = np.where(permuted[:, None], rng.permuted(identity, axis=1), identity)
        return torch.from_numpy(order) if permuted.any() else None

    def apply(self, x: Tensor, task: Tensor, examples: Tree) -> Tensor:
        """The permuted inputs."""
        return x.gather(-1, task.unsqueeze(-2).expand(x.shape))
