"""What a transform is: one thing that a task does to its inputs.

A task draws what is fixed for it once (how far strokes bend, which inputs are masked), and every
example draws its own on top. Each transform has random streams of its own, so that one more in the
list changes the draws of none.

Shapes: T tasks, B examples, N_0 inputs, `...` any leading axes of examples; images are side × side
for each channel, N_0 = channels × side².
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.tasks.transforms.geometry import Geometry
from lit_lul.trees import Tree


@dataclass(frozen=True, eq=False)
class Tasks:
    """What a transform may know of the T tasks that it draws for."""

    count: int
    """T."""
    inputs: int
    """N_0."""
    classes: np.ndarray
    """Classes of every task as indices into `images`, (T, ways)."""
    pool: np.ndarray
    """Classes that the source draws from."""
    images: ImageSet | None = None
    """The images that tasks are made of, on the CPU; None for rows that are no images."""
    overlaid: np.ndarray | None = None
    """Tasks that overlays earlier in the list change, (T,) bool; set by the pipeline."""


class Transform(ABC):
    """Changes the inputs of some or all tasks, after the transforms before it in the list."""

    @abstractmethod
    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """Draw what is fixed for each task, on the CPU: a tree of tensors, T first.

        None when no task is changed, which skips the transform for the cohort.
        """

    def sample_examples(
        self, task: Tree, shape: tuple[int, ...], generator: torch.Generator
    ) -> Tree:
        """Draw what differs between examples, on the generator's device.

        Args:
            task: what `sample_task` gave, on that device.
            shape: (..., T, B).
            generator: this transform's own.
        """
        return None

    @abstractmethod
    def apply(self, x: Tensor, task: Tree, examples: Tree) -> Tensor:
        """Change x (..., T, B, N_0), as the two draws say."""

    def targets(self, task: Tree, examples: Tree) -> tuple[Tensor, Tensor] | None:
        """Regression targets that the transform adds to labelled examples; None for none.

        Returns:
            Values (..., T, B, c), and which tasks have them, (T,) bool.
        """
        return None

    def check_shares(self, *names: str) -> None:
        """Check the attributes of these names.

        Raises:
            InvalidInput: for one that is not a number from 0 to 1.
        """
        for name in names:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InvalidInput(
                    f"{type(self).__name__} {name} {value}: expected a number from 0 to 1"
                )


class Warp(Transform):
    """A transform that moves pixels: consecutive ones are put together and sampled once."""

    @abstractmethod
    def geometry(self, task: Tree, examples: Tree, side: int) -> Geometry:
        """Where the pixels of the M = product of (..., T, B) images come from.

        Args:
            task: what `sample_task` gave.
            examples: what `sample_examples` gave.
            side: height and width of the images in pixels.
        """

    def apply(self, x: Tensor, task: Tree, examples: Tree) -> Tensor:
        """Not called: the pipeline samples warps together."""
        raise TypeError(f"{type(self).__name__} is a warp: the pipeline samples it with others")


class Overlay(Transform):
    """A transform that puts a second image together with every example of some tasks.

    The second images pass through the warps before it in the list, with draws of their own.
    """

    @abstractmethod
    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> dict[str, Any] | None:
        """As for any transform, but for the P tasks that have second images alone.

        The item `tasks` holds the numbers of these tasks, (P,) int64.
        """

    @abstractmethod
    def second_classes(self, task: Tree, members: Tensor, generator: torch.Generator) -> Tensor:
        """The class of every second image, as an index into the images, (..., P, B).

        Args:
            task: what `sample_task` gave, on the device.
            members: each example's own class within its task, 0 to ways - 1, (..., P, B).
            generator: this transform's own.
        """

    @abstractmethod
    def combine(
        self, x: Tensor, second: Tensor, task: Tree, side: int, generator: torch.Generator
    ) -> Tensor:
        """Both images together, (..., P, B, N_0).

        Args:
            x: the examples of the P tasks, (..., P, B, N_0).
            second: their second images in [0, 1], likewise.
            task: what `sample_task` gave.
            side: height and width of the images in pixels.
            generator: this transform's own.
        """

    def apply(self, x: Tensor, task: Tree, examples: Tree) -> Tensor:
        """Not called: the pipeline gathers the second images, then calls `combine`."""
        raise TypeError(f"{type(self).__name__} is an overlay: it needs second images")
