"""Elastic deformation, so that the images of a class vary as handwriting does.

A linear map has only four parameters, but handwriting bends every stroke differently (Simard,
Steinkraus and Platt 2003). Here a grid of control points moves at random, with smooth
interpolation between them.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.tasks.transforms.geometry import Geometry
from lit_lul.tasks.transforms.transform import Tasks, Warp
from lit_lul.trees import Tree

_POINTS = 4  # control points along each axis, the outer ones in the centres of the corner pixels
LARGEST = 0.5 / (_POINTS - 1)
"""Share of the side at which neighbouring control points can meet."""


@dataclass(frozen=True)
class Elastic(Warp):
    """Bends every image by moving a grid of control points (not in H.1.1).

    Cheapest as the last of several warps.

    Raises:
        InvalidInput: for a bound below 0 or above `LARGEST`, where images fold.
    """

    largest: float
    """Upper bound of the largest move of control points along each axis, as a share of the images'
    side; every task draws its own."""

    def __post_init__(self) -> None:
        if not 0 <= self.largest <= LARGEST:
            raise InvalidInput(
                f"Elastic largest {self.largest}: expected 0 to {LARGEST:.3f}, "
                "above which images fold"
            )

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """The largest move of control points, as a share of the side, (T,)."""
        if self.largest == 0:
            return None
        return torch.from_numpy(rng.uniform(0, self.largest, tasks.count).astype(np.float32))

    def sample_examples(
        self, task: Tensor, shape: tuple[int, ...], generator: torch.Generator
    ) -> Tensor:
        """Moves of control points along x and y, in units of half a side, (..., T, B, 2, 16)."""
        draws = torch.rand((*shape, 2, _POINTS**2), generator=generator, device=generator.device)
        return (draws - 0.5) * (4 * task[:, None, None, None])

    def geometry(self, task: Tensor, examples: Tensor, side: int) -> Geometry:
        """Bicubic interpolation between the control points."""
        each = torch.eye(_POINTS**2, device=examples.device).view(-1, 1, _POINTS, _POINTS)
        spread = F.interpolate(each, size=(side, side), mode="bicubic", align_corners=True)
        moved = examples.flatten(0, -3) @ spread.flatten(1)
        return Geometry(displacement=moved.unflatten(-1, (side, side)))
