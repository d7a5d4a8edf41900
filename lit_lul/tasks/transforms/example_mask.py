"""Masks that differ between examples (appendix H.1.1)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_lul.tasks.transforms.transform import Tasks, Transform
from lit_lul.trees import Tree


@dataclass(frozen=True)
class ExampleMask(Transform):
    """Sets random inputs to zero in some tasks, different ones in every example (H.1.1).

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
        """The `probability` that an input is masked, (T,), and `inputs`, N_0."""
        masked = rng.random(tasks.count) < self.share
        probability = rng.uniform(0, self.largest, tasks.count) * masked
        if not masked.any():
            return None
        return {
            "probability": torch.from_numpy(probability.astype(np.float32)),
            "inputs": tasks.inputs,
        }

    def sample_examples(
        self, task: Tree, shape: tuple[int, ...], generator: torch.Generator
    ) -> Tensor:
        """Which inputs are kept, (..., T, B, N_0) bool."""
        draws = torch.rand((*shape, task["inputs"]), generator=generator, device=generator.device)
        keep: Tensor = draws >= task["probability"][:, None, None]
        return keep

    def apply(self, x: Tensor, task: Tree, examples: Tensor) -> Tensor:
        """Set masked inputs to zero."""
        return x * examples
