"""What happens to a task's images: rotation, shifts, masks and permutation (appendix H.1.1).

Distortion, elastic deformation, tilted spectra, prints and inversion are not in the paper.

Shapes: T tasks, N = channels × side² input dimensions, `...` any leading axes of examples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.tasks.families import Family
from lit_lul.tasks.transforms.elastic import displacements
from lit_lul.tasks.transforms.prints import BRIGHTNESS, Prints, print_on, silhouettes
from lit_lul.tasks.transforms.spectrum import tilt

COEFFICIENTS = ("sine", "cosine", "shift_x", "shift_y")
"""Regression targets of a transformed image; shifts as shares of the largest shift."""
INK = (0.2, 0.9)
"""Bounds of the ink of printed tasks."""


@dataclass
class Augmentation:
    """How often tasks and images are changed, and how much.

    Raises:
        InvalidInput: for a probability outside 0 to 1 or a negative shift.
    """

    max_shift: float = 5.0
    """Largest shift of a transformed or shifted image along each axis, in pixels."""
    permutation: float = 1.0
    """Probability that a task permutes its input dimensions."""
    task_mask: float = 0.25
    """Probability that a task drops the same input dimensions in all its images."""
    example_mask: float = 0.25
    """Probability that a task drops other input dimensions in every image."""
    image_shift: float = 0.25
    """Probability that a task that is not transformed shifts every image along x."""
    max_dropped: float = 0.5
    """Largest share of the input dimensions that a mask drops; each task draws its own."""

    def __post_init__(self) -> None:
        for name in ("permutation", "task_mask", "example_mask", "image_shift", "max_dropped"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(
                    f"augmentation {name} {getattr(self, name)}: expected a number from 0 to 1"
                )
        if self.max_shift < 0:
            raise InvalidInput(
                f"augmentation max_shift {self.max_shift}: expected zero pixels or more"
            )

    def sample_inputs(
        self, families: Sequence[Family], inputs: int, rng: np.random.Generator
    ) -> "TaskInputs":
        """Draw what is fixed for each of T tasks of N = `inputs` dimensions, by its family."""
        tasks = len(families)

        def chosen(probability: float) -> np.ndarray:
            return rng.random(tasks) < probability

        identity = np.broadcast_to(np.arange(inputs), (tasks, inputs))
        permuted = rng.permuted(identity, axis=1)
        permutation = np.where(chosen(self.permutation)[:, None], permuted, identity)
        dropped = rng.uniform(0, self.max_dropped, tasks) * chosen(self.task_mask)
        keep = rng.random((tasks, inputs)) >= dropped[:, None]
        example_drop = rng.uniform(0, self.max_dropped, tasks) * chosen(self.example_mask)
        shifted = chosen(self.image_shift)
        bounds = np.array([family.tilt for family in families])
        exponent = rng.uniform(*bounds.T) if bounds.any() else np.zeros(tasks)
        share = np.array([family.inverted for family in families])
        inverted = rng.random(tasks) < share if share.any() else np.zeros(tasks, dtype=bool)
        ink, filled = np.zeros(tasks), np.zeros(tasks, dtype=bool)
        share = np.array([family.printed for family in families])
        either = share + np.array([family.filled for family in families])
        if either.any():
            quantile = rng.random(tasks)
            printed, filled = quantile < either, (share <= quantile) & (quantile < either)
            ink = rng.uniform(*INK, tasks) * printed
            exponent = exponent * ~printed
        bound = np.array([family.elastic for family in families])
        elastic = rng.uniform(0, bound) if bound.any() else np.zeros(tasks)
        return TaskInputs(
            torch.from_numpy(permutation),
            torch.from_numpy(keep.astype(np.float32)),
            torch.from_numpy(example_drop.astype(np.float32)),
            torch.from_numpy(shifted),
            torch.from_numpy(exponent.astype(np.float32)),
            torch.from_numpy(inverted),
            torch.from_numpy(ink.astype(np.float32)),
            torch.from_numpy(filled),
            torch.from_numpy(elastic.astype(np.float32)),
        )


class TaskInputs(NamedTuple):
    """What a task does to the inputs of all its examples."""

    permutation: Tensor
    """Where each input dimension is taken from, (T, N) int64."""
    keep: Tensor
    """The per-task mask, (T, N), 0 or 1."""
    example_drop: Tensor
    """Share of dimensions dropped anew in every example, (T,)."""
    image_shift: Tensor
    """Whether images are shifted along x, (T,) bool."""
    tilt: Tensor
    """Exponent of the change of the images' spectrum, (T,); 0 for none."""
    inverted: Tensor
    """Whether x becomes 1 - x, (T,) bool."""
    ink: Tensor
    """How dark figures are on their grounds, (T,); 0 for tasks that are not printed."""
    filled: Tensor
    """Printed tasks whose classes are the grounds, and whose images have less ink each, (T,) bool.
    """
    elastic: Tensor
    """How far control points of every image move, as a share of its side, (T,); 0 for none."""


def sample_placement(
    shape: tuple[int, ...],
    transformed: np.ndarray,
    shifted: np.ndarray,
    max_shift: float,
    distortion: np.ndarray,
    rng: np.random.Generator,
) -> Tensor:
    """Draw how every image is turned, moved and distorted.

    Args:
        shape: leading axes of the images, of which the last but one is T: (..., T, B).
        transformed: tasks that rotate by any angle and shift along both axes, (T,) bool.
        shifted: tasks that shift along x, (T,) bool; those transformed do so already.
        max_shift: largest shift, in pixels.
        distortion: largest entry of D, (T,).
        rng: source of randomness.

    Returns:
        angle in radians, shift along x and along y in pixels, then D by rows: (..., T, B, 7), all 0
        for images that stay as they are.
    """
    moved = transformed[:, None]
    angle = rng.uniform(0, 2 * math.pi, shape) * moved
    x = rng.uniform(-max_shift, max_shift, shape) * moved
    y = rng.uniform(-max_shift, max_shift, shape) * moved
    x = x + rng.uniform(-max_shift, max_shift, shape) * (shifted & ~transformed)[:, None]
    moves = np.stack([angle, x, y], axis=-1)
    distortions = np.zeros((*shape, 4))
    if distortion.any():
        distortions = rng.uniform(-1, 1, distortions.shape) * distortion[:, None, None]
    return torch.from_numpy(np.concatenate([moves, distortions], axis=-1).astype(np.float32))


def coefficients(placement: Tensor, max_shift: float) -> Tensor:
    """The regression targets `COEFFICIENTS` (..., 4) of a placement (..., 7)."""
    angle, x, y = placement[..., :3].unbind(-1)
    scale = 1 / max_shift if max_shift > 0 else 0.0
    return torch.stack([angle.sin(), angle.cos(), x * scale, y * scale], dim=-1)


def place(images: Tensor, placement: Tensor, elastic: Tensor | None = None) -> Tensor:
    """Distort, rotate, then shift, images (M, channels, side, side) by placements (M, 7).

    Zeros come in from outside.

    Args:
        images: what is placed.
        placement: angle, shifts and D of every image.
        elastic: displacements of its pixels after all that, (M, side, side, 2).
    """
    side = images.shape[-1]
    angle, x, y = placement[:, :3].unbind(-1)
    cosine, sine = angle.cos(), angle.sin()
    rotation = torch.stack([cosine, sine, -sine, cosine], dim=-1).view(-1, 2, 2)
    distortion = torch.eye(2).to(placement) + placement[:, 3:].view(-1, 2, 2)
    inverse = distortion @ rotation
    shift = torch.stack([x, y], dim=-1).unsqueeze(-1) * (2 / side)
    inverse = torch.cat([inverse, -inverse @ shift], dim=-1)
    grid = F.affine_grid(inverse, list(images.shape), align_corners=False)
    if elastic is not None:
        grid = grid + elastic
    return F.grid_sample(images, grid, align_corners=False)


def make_inputs(
    images: Tensor,
    rows: Tensor,
    placement: Tensor | None,
    inputs: TaskInputs,
    generator: torch.Generator,
    prints: Prints | None = None,
) -> Tensor:
    """Gather, turn, bend, print, tilt, invert, mask and permute a cohort's images.

    Args:
        images: uint8, (n, channels, side, side).
        rows: which image every example is, (..., T, B).
        placement: how it is turned and moved, (..., T, B, 7); None where no image is.
        inputs: what each task does to its inputs.
        generator: draws elastic deformations, brightness and ink of every print and per-example
            masks, on the images' device.
        prints: the second characters of printed tasks; None where no task is printed.

    Returns:
        (..., T, B, N), in [0, 1] where no spectrum is tilted.
    """
    side = images.shape[-1]

    def placed(rows: Tensor, placement: Tensor | None, elastic: Tensor) -> Tensor:
        """The images at rows (..., T, B), placed: (..., T, B, N) in [0, 1]."""
        x = images[rows.flatten()].float() / 255
        if placement is not None:
            bent = None
            if bool(elastic.any()):
                bent = displacements(rows.shape, elastic, side, generator).flatten(0, -4)
            x = place(x, placement.flatten(0, -2), bent)
        return x.view(*rows.shape, -1)

    x = placed(rows, placement, inputs.elastic)
    if prints is not None:
        own = x[..., prints.tasks, :, :]
        other = placed(prints.rows, prints.placement, inputs.elastic[prints.tasks])
        filled = inputs.filled[prints.tasks, None, None]
        low, high = BRIGHTNESS
        light, share = (
            torch.rand(prints.rows.shape, generator=generator, device=x.device) for _ in range(2)
        )
        x[..., prints.tasks, :, :] = print_on(
            silhouettes(torch.where(filled, own, other), side),
            torch.where(filled, other, own),
            inputs.ink[prints.tasks, None] * torch.where(filled[..., 0], share, 1.0),
            low + (high - low) * light,
        )
    if bool(inputs.tilt.any()):
        x = tilt(x, side, inputs.tilt)
    if bool(inputs.inverted.any()):
        x = torch.where(inputs.inverted[:, None, None], 1 - x, x)
    mask = inputs.keep.unsqueeze(-2)
    if bool((inputs.example_drop > 0).any()):
        noise = torch.rand(x.shape, generator=generator, device=x.device)
        mask = mask * (noise >= inputs.example_drop[:, None, None])
    x = x * mask
    return x.gather(-1, inputs.permutation.unsqueeze(-2).expand(x.shape))
