"""Characters printed on filled shapes, so that tasks differ in what most of their variance says.

Things come in kinds: shoes and tops differ in most of their pixels, two tops in few. A character
printed on the silhouette of another one, which several classes share, is a class of this sort. In
tasks of the other sort the silhouette is the class, and what is printed on it differs from image
to image. Every image has a brightness of its own, as a photograph has.

Shapes: P printed tasks of T, N = channels × side² input dimensions, `...` any leading axes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BRIGHTNESS = (0.4, 1.0)
"""Bounds of the brightness of every image's ground."""
_BLUR = 1 / 9  # standard deviation, as a share of the image's side
_EDGE = (0.4, 0.6)  # what is outside and what is inside of a shape, once blurred


class Prints(NamedTuple):
    """The second characters of the examples of a truncation's printed tasks."""

    tasks: Tensor
    """Which of the T tasks are printed, (P,) int64."""
    rows: Tensor
    """The character that an example's own is printed on, or that is printed on it, (..., P, B)."""
    placement: Tensor | None
    """How that image is turned and moved, (..., P, B, 7); None where no image is."""

    def to(self, device: torch.device) -> "Prints":
        """The same with every tensor on a device."""
        placement = self.placement
        return Prints(
            self.tasks.to(device, non_blocking=True),
            self.rows.to(device, non_blocking=True),
            None if placement is None else placement.to(device, non_blocking=True),
        )


def sample_kinds(pool: Sequence[int], ways: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the character that each class of a task is printed on, (ways,).

    Two to `ways` different ones, each shared by as many classes as the others, give or take one.
    """
    kinds = rng.choice(pool, size=rng.integers(2, ways + 1), replace=False)
    return np.resize(kinds, ways)


def print_on(grounds: Tensor, figures: Tensor, ink: Tensor, brightness: Tensor) -> Tensor:
    """Figures in dark ink on grounds, black outside of them.

    Args:
        grounds: silhouettes, (..., P, B, N) in [0, 1].
        figures: what is printed, (..., P, B, N) in [0, 1].
        ink: how much of the ground's light it takes away, (..., P, B) in [0, 1].
        brightness: of each example, (..., P, B).
    """
    return brightness.unsqueeze(-1) * grounds * (1 - ink.unsqueeze(-1) * figures)


def silhouettes(x: Tensor, side: int) -> Tensor:
    """Filled shapes of drawings: blurred, scaled to a maximum of 1, and cut off at an edge.

    Args:
        x: images, (..., N), side × side for each channel.
        side: their height and width in pixels.

    Returns:
        (..., N) in [0, 1]; an empty image stays empty.
    """
    pixels = torch.arange(side, device=x.device, dtype=x.dtype)
    distance = (pixels[:, None] - pixels) / (side * _BLUR)
    blur = (-0.5 * distance.square()).exp()
    y = (blur @ x.unflatten(-1, (-1, side, side)) @ blur).flatten(-3)
    y = y / y.amax(-1, keepdim=True).clamp(min=1e-6)
    low, high = _EDGE
    shape: Tensor = ((y - low) / (high - low)).clamp(0, 1)
    return shape
