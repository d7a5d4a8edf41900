"""Classes of tasks without labels: clusters, single images, random labels.

Only training needs them: validation tasks always have true labels. Images come in an order of their
content, so nothing here depends on their classes.

Shapes: U inner steps, T tasks, B examples, R draws, W classes of a task, M images of a class.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.clusters import Clusters
from lit_lul.tasks.schedules import Weight
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.transforms import Transform
from lit_lul.tasks.transforms.pipeline import Targets
from lit_lul.trees import Tree

ClassesFrom = Literal["labels", "clusters", "instances", "random"]
"""What training tasks take as classes: the labels, k-means clusters (CACTUs, Hsu et al. 2019), each
image for itself (UMTRA, Khodadadeh et al. 2019), or random labels of a few images (AAL, Antoniou &
Storkey 2019)."""

Mixture: TypeAlias = tuple[Sequence[int], Weight, Sequence[Transform]]


def by_content(images: ImageSet, pool: np.ndarray) -> Tensor:
    """The images of some classes in an order of their content, (n, channels, side, side)."""
    start = images.class_start
    chosen = torch.cat([images.images[start[c] : start[c + 1]] for c in pool])
    rows = np.ascontiguousarray(chosen.flatten(1).numpy())
    order = np.argsort(rows.view(f"V{rows.shape[1]}").ravel(), kind="stable")
    return chosen[torch.from_numpy(order)]


class ClusterTasks(ClassTasks):
    """Tasks whose classes are clusters of one partition of the images (CACTUs).

    Clusters with fewer images than a task needs of a class are not used. Images are kept in memory
    once for every partition.

    Args:
        name: prefix of the families' names.
        images: (n, channels, side, side) uint8.
        clusters: how they are partitioned.
        mixture: ways, weight and transforms, as `ClassTasks` takes them.
    """

    def __init__(self, name: str, images: Tensor, clusters: Clusters, mixture: Mixture) -> None:
        members = clusters.partition(images)  # (partitions, n)
        order, number = members.argsort(stable=True), clusters.number
        sizes = torch.stack([own.bincount(minlength=number) for own in members]).flatten()
        start = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        names = tuple(
            f"cluster {c} of partition {p}" for p in range(len(members)) for c in range(number)
        )
        by_cluster = ImageSet(torch.cat([images[own] for own in order]), start, names)
        super().__init__(name, by_cluster, np.arange(len(names)), *mixture)
        self.partitions = self.pool.reshape(len(members), number)

    def draw_classes(
        self, of_tasks: np.random.Generator, ways: int, sizes: ProblemSizes
    ) -> np.ndarray:
        """Draw a partition for every task, and clusters of it: (T, W)."""
        needed = sizes.labels_per_class + sizes.queries
        large = [own[self.class_sizes[own] >= needed] for own in self.partitions]
        fewest = min(map(len, large))
        if fewest < ways:
            raise InvalidInput(
                f"{self.name}: {fewest} of {self.partitions.shape[1]} clusters have the {needed} "
                f"images that {sizes.labels_per_class} labels and {sizes.queries} queries per "
                f"class need, tasks have {ways} classes"
            )
        every = min(round(ways * sizes.classes), fewest)
        chosen = of_tasks.integers(len(large), size=sizes.tasks)
        return np.stack([of_tasks.permutation(large[p])[:every] for p in chosen])


class InstanceTasks(ClassTasks):
    """Tasks whose classes are one image (UMTRA), or a few unrelated images (AAL).

    Support examples are the images themselves, changed only by what transforms fix for the whole
    task, as in both papers; query examples and unlabelled examples are augmented copies: transforms
    draw what differs between examples. A class has one image however many labels it has, or with
    `several` as many as it has labels. Regression targets of transforms are left out.

    Args:
        name: prefix of the families' names.
        images: (n, channels, side, side) uint8.
        mixture: ways, weight and transforms, as `ClassTasks` takes them; the last augment.
        several: whether a class is a few images with the same random label.
    """

    def __init__(self, name: str, images: Tensor, mixture: Mixture, several: bool) -> None:
        each = ImageSet(images, torch.arange(len(images) + 1), ("image",) * len(images))
        super().__init__(name, each, np.arange(len(images)), *mixture)
        self.several = several

    def draw_classes(
        self, of_tasks: np.random.Generator, ways: int, sizes: ProblemSizes
    ) -> np.ndarray:
        """Draw the images of every class of every task: (T, W, M)."""
        of_class = sizes.labels_per_class if self.several else 1
        if len(self.pool) < ways * of_class:
            raise InvalidInput(
                f"{self.name}: {ways} classes of {of_class} images asked for, {len(self.pool)} "
                "images to draw from"
            )
        size = min(round(ways * sizes.classes), len(self.pool) // of_class), of_class
        draws = (of_tasks.choice(len(self.pool), size, replace=False) for _ in range(sizes.tasks))
        return np.stack(list(draws))

    def unlabelled_rows(
        self, classes: np.ndarray, members: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw one of the images of every example's class, (U, T, B)."""
        of_class = classes.shape[2]
        image = members * of_class + rng.integers(of_class, size=members.shape)
        return np.take_along_axis(classes.reshape(1, len(classes), -1), image, axis=2)

    def labelled_rows(
        self, classes: np.ndarray, sizes: ProblemSizes, rng: np.random.Generator
    ) -> np.ndarray:
        """The images of a class in turn, on both sides: (R, T, ways, k + queries)."""
        sides = [np.arange(sizes.labels_per_class), np.arange(sizes.queries)]
        turn = np.concatenate(sides) % classes.shape[2]
        rows = classes[..., turn]
        return np.broadcast_to(rows, (sizes.draws, *rows.shape))

    def labelled_x(self, plan: Tree, seed: int) -> tuple[Tensor, Targets | None]:
        """Make the support as it is and the query as augmented copies; no regression targets."""
        rows, members, k = plan["labelled_rows"], plan["labelled_members"], plan["support"]
        draws = plan["transforms"]
        support, _ = self.pipeline.realise(
            *self._on_device,
            rows[..., :k],
            members[:k],
            self.pipeline.without_augmentation(draws),
            seed,
        )
        query, _ = self.pipeline.realise(*self._on_device, rows[..., k:], members[k:], draws, seed)
        return torch.cat([support, query], dim=-2), None
