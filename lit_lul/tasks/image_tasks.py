"""Classification of images from any labelled dataset (appendix H.1.1: CIFAR-10 and ImageNet)."""

from dataclasses import dataclass, replace

import numpy as np

from lit_lul.data.image_datasets import ImageSource, load_images
from lit_lul.tasks.families import TaskSource, check_mixture, random_families, weighted


@dataclass
class ImageTasks:
    """Tasks of the images of one dataset.

    Raises:
        InvalidInput: for ways below two, a share outside 0 to 1, or a negative weight.
    """

    source: ImageSource
    """The images of training."""
    ways: list[int] | None = None
    """Numbers of classes, each drawn at random, equally frequent; null for all classes."""
    transformed: float = 0.5
    """Share of the tasks with rotations and shifts as regression targets."""
    weight: float = 1.0
    """Share of these tasks, relative to the weights of the other kinds."""

    def __post_init__(self) -> None:
        check_mixture(self.source.dataset, self.ways or [2], self.transformed, self.weight)

    def load(self, name: str, data_root: str | None) -> tuple[TaskSource, TaskSource | None]:
        """The tasks of training, and of validation where the source leaves classes out.

        Args:
            name: first part of the families' names.
            data_root: folder that is searched for the dataset first.

        Raises:
            InvalidInput: when the dataset cannot be had, or has fewer classes than asked for.
        """
        training = self._tasks(name, self.source, data_root)
        if self.source.leave_out is None:
            return training, None
        return training, self._tasks(name, replace(self.source, held_out=True), data_root)

    def _tasks(self, name: str, source: ImageSource, data_root: str | None) -> TaskSource:
        images = load_images(source, data_root)
        ways = self.ways or [images.n_classes]
        families = random_families(name, np.arange(images.n_classes), ways, self.transformed)
        return TaskSource(images, weighted(families, self.weight))
