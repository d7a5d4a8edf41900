"""Spectral tilt of images, so that tasks differ in how much of their variance is coarse.

Inputs are permuted, so a rule sees the layout of images only through the covariance of inputs. Most
of the variance of photographs is in a few coarse components; for thin strokes it is much less. Not
in H.1.1.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from lit_lul.constraints import Ordered
from lit_lul.data.image_set import ImageSet
from lit_lul.tasks.transforms.transform import Tasks, Transform
from lit_lul.trees import Tree

_SAMPLE = 64  # images to measure a task's mean and standard deviation on


@dataclass(frozen=True)
class Tilt(Transform):
    """Multiplies each spatial frequency of r cycles per image by (1 + r) ** exponent.

    A task keeps the mean and standard deviation of its images; single values may leave [0, 1]. Both
    are measured once per task, before and after, on stored images of its classes. So a tilt must
    come before an inversion in the list, and does not change tasks with an overlay before it.
    """

    needs_images = True
    bounds: Annotated[tuple[float, float], Ordered()]
    """Bounds of the exponent, which every task draws: below 0 images have spectra like photographs,
    above 0 like thin outlines."""

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """The `gain` of every frequency (T, side, side), and `scale` and `offset` (T,).

        The last two restore the task's mean and standard deviation.
        """
        assert tasks.images is not None, "checked by the pipeline"
        exponent = rng.uniform(*self.bounds, tasks.count)
        rows = _sample_rows(tasks.images, tasks.classes, rng)
        if tasks.overlaid is not None:
            exponent[tasks.overlaid] = 0
        if not exponent.any():
            return None
        gain = _gain(tasks.images.side, torch.from_numpy(exponent))
        spectrum = torch.fft.fft2(tasks.images.images[rows].double() / 255, norm="forward")
        power = spectrum.abs().square().mean((1, 2))
        mean = spectrum[..., 0, 0].real.mean((1, 2))
        before, after = (
            (mean_square.sum((-2, -1)) - mean.square()).clamp(min=0).sqrt()
            for mean_square in (power, power * gain.square())
        )
        scale = torch.where(after > 1e-6, before / after, 1.0)
        offset = mean - mean * scale  # the mean is the frequency 0, whose gain is 1
        return {"gain": gain.float(), "scale": scale.float(), "offset": offset.float()}

    def apply(self, x: Tensor, task: Tree, examples: Tree) -> Tensor:
        """Filter every channel, with periodic boundaries."""
        side = task["gain"].shape[-1]
        half = task["gain"][..., : side // 2 + 1] * task["scale"][:, None, None]
        pixels = torch.eye(side**2, device=x.device).view(-1, side, side)
        filters = torch.fft.irfft2(torch.fft.rfft2(pixels) * half.unsqueeze(1), s=(side, side))
        channels = x.unflatten(-1, (-1, side**2)).movedim(-2, 0)
        tilted: Tensor = (channels @ filters.flatten(-2)).movedim(0, -2).flatten(-2)
        moved: Tensor = tilted + task["offset"][:, None, None]
        return moved


def _sample_rows(images: ImageSet, classes: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Rows of random images of every task's classes (T, ways): (T, 64)."""
    which = rng.integers(classes.shape[1], size=(len(classes), _SAMPLE))
    chosen = np.take_along_axis(classes, which, axis=1)
    start, sizes = images.class_start.numpy(), images.class_sizes.numpy()
    return torch.from_numpy(start[chosen] + rng.integers(sizes[chosen]))


def _gain(side: int, exponent: Tensor) -> Tensor:
    """The gain of every frequency, in the order of `fft2`: (T,) to (T, side, side)."""
    frequencies = torch.fft.fftfreq(side, 1 / side, dtype=exponent.dtype)
    cycles = torch.hypot(frequencies[:, None], frequencies)
    gain: Tensor = (1 + cycles) ** exponent[:, None, None]
    return gain
