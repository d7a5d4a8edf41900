"""Classification of images from any labelled dataset (appendix H.1.1: CIFAR-10 and ImageNet)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lit_lul.data.image_datasets import ImageSource, load_images
from lit_lul.data.image_set import ImageSet
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.clusters import Clusters
from lit_lul.tasks.label_free import ClassesFrom, ClusterTasks, InstanceTasks, by_content
from lit_lul.tasks.schedules import Weight
from lit_lul.tasks.source import Families, Source
from lit_lul.tasks.transforms import Transform


@dataclass(frozen=True)
class ImageClasses(Source):
    """Base of the sources whose tasks are classes of images: the settings that all of them have."""

    weight: Weight = field(default=1.0, kw_only=True)
    """Share of these tasks, relative to the weights of the other sources; it may move."""
    transforms: list[Transform] = field(default_factory=list, kw_only=True)
    """Transforms of the inputs, in this order."""
    classes: ClassesFrom = field(default="labels", kw_only=True)
    """What training tasks take as classes; validation tasks always have true labels."""
    clusters: Clusters = field(default_factory=Clusters, kw_only=True)
    """How images are clustered where clusters are the classes."""

    def tasks(
        self,
        name: str,
        images: ImageSet,
        pool: np.ndarray,
        ways: Sequence[int],
        classes: ClassesFrom,
    ) -> ClassTasks:
        """Tasks of the images of some classes.

        Args:
            name: prefix of the families' names.
            images: the images of all classes.
            pool: classes to draw from, as indices into `images`; without labels, all their images.
            ways: numbers of classes of a task.
            classes: what the tasks take as classes.
        """
        mixture = ways, self.weight, self.transforms
        if classes == "labels":
            return ClassTasks(name, images, pool, *mixture)
        unlabelled = by_content(images, pool)
        if classes == "clusters":
            return ClusterTasks(name, unlabelled, self.clusters, mixture)
        return InstanceTasks(name, unlabelled, mixture, classes == "random")


@dataclass(frozen=True)
class ImageTasks(ImageClasses):
    """A source of tasks of the images of one dataset."""

    images: ImageSource
    """The images of training."""
    ways: Families | None = None
    """Numbers of classes of a task, equally frequent; null for all classes."""
    validation_split: str | None = None
    """Split whose images of the same classes are for validation; null for none, or for the classes
    of `images.leave_out`."""

    def load(self, name: str, data_root: str | None) -> tuple[ClassTasks, ClassTasks | None]:
        """The tasks of training, and of validation if there are classes or a split for it."""
        training = self._of(self.images, name, data_root, self.classes)
        if self.validation_split is not None:
            split = replace(self.images, split=self.validation_split)
            return training, self._of(split, name, data_root, "labels")
        if self.images.leave_out is None:
            return training, None
        held_out = replace(self.images, held_out=True)
        return training, self._of(held_out, name, data_root, "labels")

    def _of(
        self, source: ImageSource, name: str, data_root: str | None, classes: ClassesFrom
    ) -> ClassTasks:
        images = load_images(source, data_root)
        every = np.arange(images.n_classes)
        return self.tasks(name, images, every, self.ways or [images.n_classes], classes)
