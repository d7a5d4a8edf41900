"""Tilting the spectrum of images, so that tasks differ in how much of their variance is coarse.

Inputs are permuted, so all that a rule can see of how an image is laid out is how its inputs vary
together. Most of the variance of photographs lies in a few coarse components, much less of that of
thin strokes.

Shapes: T tasks, N = channels × side² input dimensions, `...` any leading axes of examples.
"""

import torch
from torch import Tensor


def tilt(x: Tensor, side: int, exponent: Tensor) -> Tensor:
    """Multiply every spatial frequency of r cycles per image by (1 + r) ** exponent.

    Every task keeps the mean and the standard deviation of its values, which may leave [0, 1].

    Args:
        x: images, (..., T, B, N), side × side for each channel.
        side: their height and width in pixels; opposite edges are taken to meet.
        exponent: below 0 for coarser images, above for finer ones, (T,).
    """
    channels = x.unflatten(-1, (-1, side * side)).movedim(-2, 0)
    tilted = (channels @ _filters(side, exponent)).movedim(0, -2).flatten(-2)
    mean, std = _moments(x)
    tilted_mean, tilted_std = _moments(tilted)
    scale = std / tilted_std.clamp(min=1e-6)
    return torch.addcmul(mean - tilted_mean * scale, tilted, scale)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the values of each task: (..., T, B, N) to (1, T, 1, 1)."""
    others = [axis for axis in range(x.ndim) if axis != x.ndim - 3]
    mean = x.mean(others, keepdim=True)
    norm = torch.linalg.vector_norm(x, dim=others, keepdim=True)
    mean_square = norm.square() * (mean.numel() / x.numel())
    return mean, (mean_square - mean.square()).clamp(min=0).sqrt()


def _filters(side: int, exponent: Tensor) -> Tensor:
    """What the tilt does to each pixel on its own, (T, side², side²)."""
    rows = torch.fft.fftfreq(side, 1 / side, device=exponent.device)
    columns = torch.fft.rfftfreq(side, 1 / side, device=exponent.device)
    cycles = torch.hypot(rows[:, None], columns)
    gain: Tensor = (1 + cycles) ** exponent[:, None, None]
    pixels = torch.eye(side * side, device=exponent.device).view(-1, side, side)
    responses: Tensor = torch.fft.irfft2(
        torch.fft.rfft2(pixels) * gain.unsqueeze(1), s=(side, side)
    )
    return responses.flatten(-2)
