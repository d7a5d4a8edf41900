"""Elastic deformation, so that the images of a class differ as those of one hand do.

A linear map has four numbers; handwriting bends every stroke its own way (Simard, Steinkraus and
Platt, 2003). Here a grid of control points moves at random, and smoothly what lies between them.

Shapes: T tasks, B examples, `...` any leading axes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_POINTS = 4  # control points along each axis, the outer ones in the centres of the corner pixels
LARGEST = 0.5 / (_POINTS - 1)
"""Share of the side at which neighbouring control points may about meet."""


def displacements(
    shape: tuple[int, ...], largest: Tensor, side: int, generator: torch.Generator
) -> Tensor:
    """Draw from where each pixel of every image is taken, relative to its place.

    Args:
        shape: axes of the images, (..., T, B).
        largest: how far a control point moves along each axis, as a share of the side, (T,).
        side: height and width of the images in pixels.
        generator: source of randomness, on the device of `largest`.

    Returns:
        (..., T, B, side, side, 2), along x and y, in units of half a side as `grid_sample` has it.
    """
    device = largest.device
    points = torch.rand((*shape, 2, _POINTS**2), generator=generator, device=device)
    moves = (points - 0.5) * (4 * largest[:, None, None, None])
    each = torch.eye(_POINTS**2, device=device).view(-1, 1, _POINTS, _POINTS)
    spread = F.interpolate(each, size=(side, side), mode="bicubic", align_corners=True)
    bent: Tensor = (moves @ spread.flatten(1)).unflatten(-1, (side, side)).movedim(-3, -1)
    return bent
