"""The protocol of transforms: random changes of a task's inputs.

What is fixed for a task is drawn once (how far strokes bend, which inputs are masked), and the rest
for every example. Each transform has its own random streams, so adding one to the list does not
change the draws of the others.

Shapes: T tasks, B examples, N_0 inputs, `...` any leading axes of examples; images are side × side
for each channel, N_0 = channels × side².
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lit_lul.constraints import Checked
from lit_lul.data.image_set import ImageSet
from lit_lul.tasks.transforms.geometry import Geometry
from lit_lul.trees import Tree


@dataclass(frozen=True, eq=False)
class Tasks:
    """The T tasks that a transform draws for."""

    count: int
    """T."""
    inputs: int
    """N_0."""
    classes: np.ndarray
    """Classes of every task as indices into `images`, (T, ways)."""
    pool: np.ndarray
    """All classes that tasks of the source draw from."""
    images: ImageSet | None = None
    """The images that tasks are made of, on the CPU; None for rows that are not images."""
    overlaid: np.ndarray | None = None
    """Tasks changed by overlays earlier in the list, (T,) bool; set by the pipeline."""


class Transform(Checked, ABC):
    """A random change of the inputs of some or all tasks."""

    needs_images: ClassVar[bool] = False
    """Whether it refuses rows that are not images."""

    @abstractmethod
    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree | None:
        """Draw what is fixed for each task, on the CPU: a tree of tensors, T first.

        None if no task is changed: the transform is then skipped for the cohort.
        """

    def sample_examples(
        self, task: Tree, shape: tuple[int, ...], generator: torch.Generator
    ) -> Tree:
        """Draw what differs between examples, on the generator's device.

        Args:
            task: from `sample_task`, on that device.
            shape: (..., T, B).
            generator: this transform's own.
        """
        return None

    @abstractmethod
    def apply(self, x: Tensor, task: Tree, examples: Tree) -> Tensor:
        """Change x (..., T, B, N_0), given the draws of tasks and examples."""

    def targets(self, task: Tree, examples: Tree) -> tuple[Tensor, Tensor] | None:
        """Regression targets that the transform adds to labelled examples; None if there are none.

        Returns:
            Values (..., T, B, c), and which tasks have them, (T,) bool.
        """
        return None


class Warp(Transform):
    """A transform that moves pixels; consecutive warps are composed and interpolated once."""

    needs_images = True

    @abstractmethod
    def geometry(self, task: Tree, examples: Tree, side: int) -> Geometry:
        """The geometric map of M images, where M is the product of (..., T, B).

        Args:
            task: from `sample_task`.
            examples: from `sample_examples`.
            side: height and width of the images in pixels.
        """

    def apply(self, x: Tensor, task: Tree, examples: Tree) -> Tensor:
        """Not called: the pipeline composes warps and applies their geometry."""
        raise TypeError(f"{type(self).__name__} is a warp: the pipeline applies its geometry")


class Overlay(Transform):
    """A transform that combines every example of some tasks with a second image.

    Second images go through the warps before it in the list, with separate draws.
    """

    needs_images = True

    @abstractmethod
    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> dict[str, Any] | None:
        """Draw what is fixed for the P tasks with second images; P comes first in its tensors.

        The item `tasks` holds the indices of these tasks, (P,) int64.
        """

    @abstractmethod
    def second_classes(self, task: Tree, members: Tensor, generator: torch.Generator) -> Tensor:
        """The class of every second image, as an index into the images, (..., P, B).

        Args:
            task: from `sample_task`, on the device.
            members: each example's own class within its task, 0 to ways - 1, (..., P, B).
            generator: this transform's own.
        """

    @abstractmethod
    def combine(
        self, x: Tensor, second: Tensor, task: Tree, side: int, generator: torch.Generator
    ) -> Tensor:
        """The combined images, (..., P, B, N_0).

        Args:
            x: the examples of the P tasks, (..., P, B, N_0).
            second: their second images, of the same shape, in [0, 1].
            task: from `sample_task`.
            side: height and width of the images in pixels.
            generator: this transform's own.
        """

    def apply(self, x: Tensor, task: Tree, examples: Tree) -> Tensor:
        """Not called: the pipeline gathers the second images, then calls `combine`."""
        raise TypeError(f"{type(self).__name__} is an overlay: it needs second images")
