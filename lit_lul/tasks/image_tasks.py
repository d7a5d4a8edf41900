"""Classification of images from any labelled dataset (appendix H.1.1: CIFAR-10 and ImageNet)."""

from dataclasses import dataclass, field, replace

import numpy as np

from lit_lul.data.image_datasets import ImageSource, load_images
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.clusters import Clusters
from lit_lul.tasks.label_free import ClassesFrom, training_tasks
from lit_lul.tasks.schedules import Weight
from lit_lul.tasks.source import Source, check_mixture
from lit_lul.tasks.transforms import Transform


@dataclass(frozen=True)
class ImageTasks(Source):
    """A source of tasks of the images of one dataset.

    Raises:
        InvalidInput: for ways below two, or a negative weight.
    """

    images: ImageSource
    """The images of training."""
    ways: list[int] | None = None
    """Numbers of classes of a task, equally frequent; null for all classes."""
    validation_split: str | None = None
    """Split whose images of the same classes are for validation; null for none, or for the classes
    of `images.leave_out`."""
    weight: Weight = 1.0
    """Share of these tasks, relative to the weights of the other sources; it may move."""
    transforms: list[Transform] = field(default_factory=list)
    """Transforms of the inputs, in this order."""
    classes: ClassesFrom = "labels"
    """What training tasks take as classes; validation tasks always have true labels."""
    clusters: Clusters = field(default_factory=Clusters)
    """How images are clustered where clusters are the classes."""

    def __post_init__(self) -> None:
        check_mixture(self.images.dataset, [2] if self.ways is None else self.ways, self.weight)

    def load(self, name: str, data_root: str | None) -> tuple[ClassTasks, ClassTasks | None]:
        """The tasks of training, and of validation if there are classes or a split for it.

        Raises:
            InvalidInput: when the dataset cannot be loaded or has too few classes.
        """
        training = self._tasks(name, self.images, data_root, self.classes)
        if self.validation_split is not None:
            split = replace(self.images, split=self.validation_split)
            return training, self._tasks(name, split, data_root, "labels")
        if self.images.leave_out is None:
            return training, None
        held_out = replace(self.images, held_out=True)
        return training, self._tasks(name, held_out, data_root, "labels")

    def _tasks(
        self, name: str, source: ImageSource, data_root: str | None, classes: ClassesFrom
    ) -> ClassTasks:
        images = load_images(source, data_root)
        mixture = self.ways or [images.n_classes], self.weight, self.transforms
        pool = np.arange(images.n_classes)
        return training_tasks(classes, self.clusters, name, images, pool, *mixture)
