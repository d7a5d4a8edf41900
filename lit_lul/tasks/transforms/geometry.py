"""Geometric maps of images, composed so that several warps need one interpolation.

Coordinates are x and y from the image's centre in units of half a side, as in `grid_sample` with
`align_corners=False`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Geometry(NamedTuple):
    """A map of M images: the output at u is the input at matrix · (u, 1) + displacement(u)."""

    matrix: Tensor | None = None
    """Output to input coordinates, (M, 2, 3); None for the identity."""
    displacement: Tensor | None = None
    """Added to the input coordinates of every pixel, (M, 2, side, side); None for none."""

    def then(self, later: "Geometry") -> "Geometry":
        """The composition of this warp and a later one of the same images.

        A later warp has to interpolate this one's displacement: a displacement is cheapest last.
        """
        matrix, displacement = later.matrix, later.displacement
        if self.matrix is not None:
            linear = self.matrix[:, :, :2]
            if displacement is not None:
                displacement = (linear @ displacement.flatten(2)).view_as(displacement)
            if matrix is None:
                matrix = self.matrix
            else:
                shift = torch.baddbmm(self.matrix[:, :, 2:], linear, matrix[:, :, 2:])
                matrix = torch.cat([linear @ matrix[:, :, :2], shift], dim=-1)
        if self.displacement is not None:
            grid = later.grid(self.displacement.shape[-1])
            carried = F.grid_sample(
                self.displacement, grid, padding_mode="border", align_corners=False
            )
            displacement = carried if displacement is None else displacement + carried
        return Geometry(matrix, displacement)

    def grid(self, side: int) -> Tensor:
        """Input coordinates of every output pixel, (M, side, side, 2)."""
        if self.displacement is None:
            if self.matrix is None:
                raise ValueError("a geometry must have a matrix or a displacement")
            coordinates = self.matrix @ _pixels(side, self.matrix)
        else:
            coordinates = self.displacement.flatten(2)
            pixels = _pixels(side, coordinates)
            if self.matrix is None:
                coordinates = pixels[:2] + coordinates
            else:
                pixels = pixels.expand(len(coordinates), -1, -1)
                coordinates = torch.baddbmm(coordinates, self.matrix, pixels)
        grid: Tensor = coordinates.unflatten(-1, (side, side)).movedim(1, -1)
        return grid

    def sample(self, images: Tensor) -> Tensor:
        """The warped images (M, channels, side, side), with zeros outside the input."""
        return F.grid_sample(images, self.grid(images.shape[-1]), align_corners=False)


def _pixels(side: int, like: Tensor) -> Tensor:
    """x, y and 1 of every pixel's centre, (3, side²)."""
    centres = (2 * torch.arange(side, device=like.device, dtype=like.dtype) + 1) / side - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)]).flatten(1)
