"""Warps: rotations and shifts (H.1.1), linear distortion, elastic deformation.

A linear map has only four parameters, but handwriting bends every stroke differently (Simard,
Steinkraus and Platt 2003). `Elastic` moves a grid of control points at random, with smooth
interpolation between them.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.constraints import Bounds, Share
from lit_lul.tasks.transforms.geometry import Geometry
from lit_lul.tasks.transforms.transform import Tasks, Warp
from lit_lul.trees import Tree


@dataclass(frozen=True)
class Placement(Warp):
    """Rotates every image about its centre and shifts it, in some tasks; others only shift it.

    Labelled examples of tasks that rotate have four regression targets: sine and cosine of the
    angle, and the shifts along x and y as shares of `max_shift` (H.1.1).
    """

    turned: Share = 0.5
    """Share of the tasks that rotate by any angle and shift along both axes."""
    shifted: Share = 0.25
    """Share of the other tasks that shift every image along x."""
    max_shift: Annotated[float, Bounds(ge=0, lt=math.inf)] = 5.0
    """Largest shift along each axis, in pixels."""

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """Masks of the tasks that rotate, (T,) bool or None, and that shift along x, (T,) bool."""
        turned = rng.random(tasks.count) < self.turned
        shifted = turned | (rng.random(tasks.count) < self.shifted)
        if not shifted.any():
            return None
        return {
            "turned": torch.from_numpy(turned) if turned.any() else None,
            "shifted": torch.from_numpy(shifted),
        }

    def sample_examples(
        self, task: Tree, shape: tuple[int, ...], generator: torch.Generator
    ) -> Tensor:
        """Angle in radians, and shifts along x and y as shares of `max_shift`, (..., T, B, 3)."""
        shifted, turned = task["shifted"], task["turned"]
        if turned is None:
            turned = torch.zeros_like(shifted)
        draws = torch.rand((*shape, 3), generator=generator, device=generator.device)
        angle, x, y = draws.unbind(-1)
        angle = 2 * math.pi * angle * turned.unsqueeze(-1)
        x, y = (2 * x - 1) * shifted.unsqueeze(-1), (2 * y - 1) * turned.unsqueeze(-1)
        return torch.stack([angle, x, y], dim=-1)

    def geometry(self, task: Tree, examples: Tensor, side: int) -> Geometry:
        """Rotate about the centre, then shift."""
        angle, x, y = examples.flatten(0, -2).unbind(-1)
        cosine, sine, unit = angle.cos(), angle.sin(), 2 * self.max_shift / side
        rows = (
            [cosine, sine, -unit * (cosine * x + sine * y)],
            [-sine, cosine, unit * (sine * x - cosine * y)],
        )
        return Geometry(torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2))

    def targets(self, task: Tree, examples: Tensor) -> tuple[Tensor, Tensor] | None:
        """Sine and cosine of the angle and both shifts, (..., T, B, 4), of tasks that rotate."""
        if task["turned"] is None:
            return None
        angle, x, y = examples.unbind(-1)
        if self.max_shift == 0:
            x = y = torch.zeros_like(angle)
        return torch.stack([angle.sin(), angle.cos(), x, y], dim=-1), task["turned"]


@dataclass(frozen=True)
class Distortion(Warp):
    """Rotates, stretches and shears every image about its centre, each at random.

    Coordinates are mapped by I + D, where D is 2 × 2. Not in H.1.1.
    """

    largest: Annotated[float, Bounds(ge=0, lt=0.5)]
    """Entries of D are uniform within ± this bound; from 0.5 on images fold. At 0.35
    classes of characters vary about as much as handwriting."""

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


_POINTS = 4  # control points along each axis, the outer points in the centres of the corner pixels
LARGEST = 0.5 / (_POINTS - 1)
"""Share of the side at which neighbouring control points can meet: above it images fold."""


@dataclass(frozen=True)
class Elastic(Warp):
    """Bends every image by moving a grid of control points (not in H.1.1).

    Cheapest as the last of several warps.
    """

    largest: Annotated[float, Bounds(ge=0, le=LARGEST)]
    """Upper bound of the largest move of control points along each axis, as a share of the images'
    side; every task draws its own."""

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
