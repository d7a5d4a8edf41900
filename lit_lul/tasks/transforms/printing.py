"""Characters printed on filled shapes, so that most of the variance need not be about the class.

Photographed things come in kinds: shoes and tops differ in most pixels, two tops in few. In printed
tasks a class is a character on the silhouette of another one, which several classes share. In
filled tasks the silhouette is the class, and the character on it differs between images. Every
image has its own brightness, as photographs do. Not in H.1.1.

Shapes: P printed tasks of T, N_0 = channels × side² inputs, `...` any leading axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_lul.constraints import Share
from lit_lul.errors import InvalidInput
from lit_lul.tasks.transforms.transform import Overlay, Tasks
from lit_lul.trees import Tree

INK = (0.2, 0.9)
"""Bounds of the share of the ground's light that a task's ink absorbs."""
BRIGHTNESS = (0.4, 1.0)
"""Bounds of the brightness of an image's ground."""
_BLUR = 1 / 9  # standard deviation, as a share of the image's side
_EDGE = (0.4, 0.6)  # blurred values outside and inside a shape


@dataclass(frozen=True)
class Printing(Overlay):
    """Prints characters on silhouettes of others, in some tasks."""

    printed: Share
    """Share of the tasks whose classes are characters, printed on silhouettes that several classes
    share."""
    filled: Share = 0.0
    """Share of the tasks whose classes are silhouettes, with a random character printed on every
    image, in ink of random strength."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.printed + self.filled > 1:
            raise InvalidInput(
                "the sum of Printing.printed and Printing.filled must be at most 1, "
                f"got {self.printed} and {self.filled}"
            )

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> dict[str, Any] | None:
        """For P printed or filled tasks: `tasks` (P,), `filled` (P,), `ink` (P,), `kinds`, `pool`.

        `kinds` (P, ways) are the silhouettes that a task's classes are printed on; `pool` the
        characters that are printed on filled shapes.
        """
        quantile = rng.random(tasks.count)
        ink = rng.uniform(*INK, tasks.count)
        ways = tasks.classes.shape[1]
        kinds = np.stack([sample_kinds(tasks.pool, ways, rng) for _ in range(tasks.count)])
        printed = np.flatnonzero(quantile < self.printed + self.filled)
        if not printed.size:
            return None
        return {
            "tasks": torch.from_numpy(printed),
            "filled": torch.from_numpy(quantile[printed] >= self.printed),
            "ink": torch.from_numpy(ink[printed].astype(np.float32)),
            "kinds": torch.from_numpy(kinds[printed]),
            "pool": torch.from_numpy(np.array(tasks.pool, dtype=np.int64)),
        }

    def second_classes(self, task: Tree, members: Tensor, generator: torch.Generator) -> Tensor:
        """The silhouette's class in printed tasks; any character in filled tasks."""
        kinds = task["kinds"].expand(*members.shape[:-1], -1).gather(-1, members)
        index = torch.randint(
            len(task["pool"]), members.shape, generator=generator, device=generator.device
        )
        return torch.where(task["filled"].unsqueeze(-1), task["pool"][index], kinds)

    def combine(
        self, x: Tensor, second: Tensor, task: Tree, side: int, generator: torch.Generator
    ) -> Tensor:
        """Print one image on the silhouette of the other, with random brightness."""
        filled = task["filled"][:, None, None]
        light, share = torch.rand(
            (2, *x.shape[:-1]), generator=generator, device=generator.device
        ).unbind()
        low, high = BRIGHTNESS
        return print_on(
            silhouettes(torch.where(filled, x, second), side),
            torch.where(filled, second, x),
            task["ink"].unsqueeze(-1) * torch.where(filled[..., 0], share, 1.0),
            low + (high - low) * light,
        )


def sample_kinds(
    pool: Sequence[int] | np.ndarray, ways: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw the character that each class of a task is printed on, (ways,).

    There are two to `ways` different characters, shared by equally many classes, to within one.
    """
    kinds = rng.choice(pool, size=rng.integers(2, ways + 1), replace=False)
    return np.resize(kinds, ways)


def print_on(grounds: Tensor, figures: Tensor, ink: Tensor, brightness: Tensor) -> Tensor:
    """Figures in dark ink on grounds, black outside of them.

    Args:
        grounds: silhouettes, (..., P, B, N_0) in [0, 1].
        figures: images to print, (..., P, B, N_0) in [0, 1].
        ink: share of the ground's light that they absorb, (..., P, B) in [0, 1].
        brightness: of each example, (..., P, B).
    """
    return brightness.unsqueeze(-1) * grounds * (1 - ink.unsqueeze(-1) * figures)


def silhouettes(x: Tensor, side: int) -> Tensor:
    """Filled shapes of drawings: blurred, scaled to a maximum of 1, and thresholded.

    Args:
        x: images, (..., N_0), side × side for each channel.
        side: their height and width in pixels.

    Returns:
        (..., N_0) in [0, 1]; an empty image stays empty.
    """
    pixels = torch.arange(side, device=x.device, dtype=x.dtype)
    distance = (pixels[:, None] - pixels) / (side * _BLUR)
    blur = (-0.5 * distance.square()).exp()
    y = (blur @ x.unflatten(-1, (-1, side, side)) @ blur).flatten(-3)
    y = y / y.amax(-1, keepdim=True).clamp(min=1e-6)
    low, high = _EDGE
    shape: Tensor = ((y - low) / (high - low)).clamp(0, 1)
    return shape
