"""Linear distortion, so that the images of a class vary more (not in H.1.1)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.tasks.transforms.geometry import Geometry
from lit_lul.tasks.transforms.transform import Tasks, Warp
from lit_lul.trees import Tree


@dataclass(frozen=True)
class Distortion(Warp):
    """Rotates, stretches and shears every image about its centre, each at random.

    Coordinates are mapped by I + D, where D is 2 × 2.

    Raises:
        InvalidInput: for a bound below 0, or of 0.5 or more, where images fold.
    """

    largest: float
    """Entries of D are uniform within ± this bound. At 0.35 classes of characters vary about as
    much as handwriting."""

    def __post_init__(self) -> None:
        if not 0 <= self.largest < 0.5:
            raise InvalidInput(
                f"Distortion largest {self.largest}: expected 0 to below 0.5, where images fold"
            )

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """Nothing is fixed for a task."""
        return {} if self.largest > 0 else None

    def sample_examples(
        self, task: Tree, shape: tuple[int, ...], generator: torch.Generator
    ) -> Tensor:
        """D by rows, (..., T, B, 4)."""
        draws = torch.rand((*shape, 4), generator=generator, device=generator.device)
        return (2 * draws - 1) * self.largest

    def geometry(self, task: Tree, examples: Tensor, side: int) -> Geometry:
        """I + D about the centre."""
        identity = torch.eye(2, 3, device=examples.device)
        by_rows = examples.reshape(-1, 2, 2)
        return Geometry(identity + torch.nn.functional.pad(by_rows, (0, 1)))
