"""Transforms of single inputs, which need no images: permutation, masks (H.1.1), inversion."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_lul.constraints import Share
from lit_lul.tasks.transforms.transform import Tasks, Transform
from lit_lul.trees import Tree


@dataclass(frozen=True)
class Permutation(Transform):
    """Permutes the inputs, with one permutation for all examples of a task (H.1.1)."""

    share: Share = 1.0
    """Share of the tasks that permute their inputs."""

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """The source index of every input, (T, N_0) int64."""
        permuted = rng.random(tasks.count) < self.share
        identity = np.broadcast_to(np.arange(tasks.inputs), (tasks.count, tasks.inputs))
        order = np.where(permuted[:, None], rng.permuted(identity, axis=1), identity)
        return torch.from_numpy(order) if permuted.any() else None

    def apply(self, x: Tensor, task: Tensor, examples: Tree) -> Tensor:
        """The permuted inputs."""
        return x.gather(-1, task.unsqueeze(-2).expand(x.shape))


@dataclass(frozen=True)
class Mask(Transform):
    """Base of masks: some tasks set random inputs to zero (H.1.1)."""

    share: Share = 0.25
    """Share of the tasks that mask inputs."""
    largest: Share = 0.5
    """Upper bound of the probability that an input is masked; each task draws its own."""

    def probabilities(self, tasks: Tasks, rng: np.random.Generator) -> np.ndarray | None:
        """The probability that an input of a task is masked, (T,); None if no task masks."""
        masked = rng.random(tasks.count) < self.share
        return rng.uniform(0, self.largest, tasks.count) * masked if masked.any() else None


@dataclass(frozen=True)
class TaskMask(Mask):
    """Sets random inputs to zero in some tasks, the same inputs in all examples (H.1.1)."""

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """A mask of the inputs that are kept, (T, N_0), 0 or 1."""
        probability = self.probabilities(tasks, rng)
        if probability is None:
            return None
        keep = rng.random((tasks.count, tasks.inputs)) >= probability[:, None]
        return torch.from_numpy(keep.astype(np.float32))

    def apply(self, x: Tensor, task: Tensor, examples: Tree) -> Tensor:
        """Set masked inputs to zero."""
        return x * task.unsqueeze(-2)


@dataclass(frozen=True)
class ExampleMask(Mask):
    """Sets random inputs to zero in some tasks, other inputs in every example (H.1.1)."""

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """The `probability` that an input is masked, (T,), and `inputs`, N_0."""
        probability = self.probabilities(tasks, rng)
        if probability is None:
            return None
        return {
            "probability": torch.from_numpy(probability.astype(np.float32)),
            "inputs": tasks.inputs,
        }

    def sample_examples(
        self, task: Tree, shape: tuple[int, ...], generator: torch.Generator
    ) -> Tensor:
        """A mask of the inputs that are kept, (..., T, B, N_0) bool."""
        draws = torch.rand((*shape, task["inputs"]), generator=generator, device=generator.device)
        keep: Tensor = draws >= task["probability"][:, None, None]
        return keep

    def apply(self, x: Tensor, task: Tree, examples: Tensor) -> Tensor:
        """Set masked inputs to zero."""
        return x * examples


@dataclass(frozen=True)
class Inversion(Transform):
    """Replaces every input x of some tasks by 1 - x."""

    share: Share
    """Share of the tasks that are inverted."""

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """A mask of the inverted tasks, (T,), 0 or 1."""
        inverted = rng.random(tasks.count) < self.share
        return torch.from_numpy(inverted.astype(np.float32)) if inverted.any() else None

    def apply(self, x: Tensor, task: Tensor, examples: Tree) -> Tensor:
        """1 - x in inverted tasks, x in others."""
        inverted = task[:, None, None]
        return torch.addcmul(inverted, x, 1 - 2 * inverted)
