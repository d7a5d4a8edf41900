"""Rotations and shifts, whose coefficients are regression targets (appendix H.1.1)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.tasks.transforms.geometry import Geometry
from lit_lul.tasks.transforms.transform import Tasks, Warp
from lit_lul.trees import Tree


@dataclass(frozen=True)
class Placement(Warp):
    """Rotates every image about its centre and shifts it, in some tasks; others only shift it.

    Labelled examples of tasks that rotate have four regression targets: sine and cosine of the
    angle, and the shifts along x and y as shares of `max_shift` (H.1.1).

    Raises:
        InvalidInput: for a share outside 0 to 1 or a negative shift.
    """

    turned: float = 0.5
    """Share of the tasks that rotate by any angle and shift along both axes."""
    shifted: float = 0.25
    """Share of the other tasks that shift every image along x."""
    max_shift: float = 5.0
    """Largest shift along each axis, in pixels."""

    def __post_init__(self) -> None:
        self.check_shares("turned", "shifted")
        if not 0 <= self.max_shift < math.inf:
            raise InvalidInput(f"Placement max_shift {self.max_shift}: expected 0 pixels or more")

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """Which tasks rotate, (T,) bool or None, and which shift along x, (T,) bool."""
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
