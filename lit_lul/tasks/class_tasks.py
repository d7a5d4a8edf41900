"""Tasks of a few classes of an image set: learners see images, objectives their classes.

Shapes: U inner steps, T tasks, B examples, R draws, K labelled examples.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.objectives.objective import Labelled
from lit_lul.tasks.schedules import Weight
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.source import Batches, Family, Seeds, TaskSource, one_hot
from lit_lul.tasks.transforms import Transform
from lit_lul.tasks.transforms.pipeline import Pipeline, Targets
from lit_lul.tasks.transforms.transform import Tasks
from lit_lul.trees import Tree


class ClassTasks(TaskSource):
    """Classification tasks with classes drawn from a pool, and transforms of their inputs.

    Args:
        name: prefix of the families' names.
        images: the images of all classes. Its tensor may also be a table (n, N_0) of uint8 or
            of floats in [0, 1]: rows that are not images, which warps refuse.
        pool: classes to draw from, as indices into `images`.
        ways: numbers of classes of a task, equally frequent; each is a family.
        weight: of all families together.
        transforms: applied to the inputs in this order.
    """

    def __init__(
        self,
        name: str,
        images: ImageSet,
        pool: Sequence[int] | np.ndarray,
        ways: Sequence[int],
        weight: Weight,
        transforms: Sequence[Transform],
    ) -> None:
        if len(pool) < max(ways):
            raise InvalidInput(f"{name}: {max(ways)} classes asked for, {len(pool)} to draw from")
        self.name, self.images, self.pool = name, images, np.array(pool)
        self.class_start, self.class_sizes = images.class_start.numpy(), images.class_sizes.numpy()
        inputs = images.images[0].numel()
        self._known = images if images.images.ndim == 4 else None  # what transforms may look at
        self.families = [Family(f"{name}-{n}", n, weight / len(ways), inputs) for n in ways]
        self.pipeline = Pipeline(transforms)
        self._on_device: tuple[Tensor, Tensor] = images.images, images.class_start

    def plan(self, family: Family, steps: int, sizes: ProblemSizes, seeds: Seeds) -> Tree:
        """Draw classes, transforms and the rows of the images."""
        of_tasks = np.random.default_rng(seeds.tasks)
        rng = np.random.default_rng(seeds.truncation)
        tasks, ways = sizes.tasks, family.ways
        classes = self.draw_classes(of_tasks, ways, sizes)
        described = Tasks(tasks, family.inputs, classes.reshape(tasks, -1), self.pool, self._known)
        weights = np.exp(sizes.class_skew * of_tasks.normal(size=classes.shape[:2]))
        members = draw_members(weights, (steps, tasks, sizes.batch_size), rng)
        rows = self.unlabelled_rows(classes, members, rng)
        labelled = self.labelled_rows(classes[:, :ways], sizes, rng)
        return {
            "ways": ways,
            "transforms": self.pipeline.sample_tasks(described, seeds.tasks),
            "members": torch.from_numpy(members),
            "rows": torch.from_numpy(rows),
            **labelled_sides(labelled, sizes.labels_per_class),
            "seeds": [int(s) for s in rng.integers(2**31, size=2)],
        }

    def realise(self, plan: Tree, device: torch.device) -> tuple[Batches, Labelled]:
        """Gather the images and apply the transforms."""
        if self._on_device[0].device != device:
            self._on_device = self._on_device[0].to(device), self._on_device[1].to(device)
        unlabelled_seed, labelled_seed = plan["seeds"]

        def make(steps: slice) -> Tensor:
            x, _ = self.pipeline.realise(
                *self._on_device,
                plan["rows"][steps],
                plan["members"][steps],
                plan["transforms"],
                unlabelled_seed + steps.start,
            )
            return x

        def targets(steps: slice) -> Tensor:
            return one_hot(plan["members"][steps], plan["ways"])

        batches = Batches(len(plan["rows"]), make, targets)
        x, added = self.labelled_x(plan, labelled_seed)
        return batches, labelled_of(x, plan, plan["ways"], added)

    def draw_classes(
        self, of_tasks: np.random.Generator, ways: int, sizes: ProblemSizes
    ) -> np.ndarray:
        """Draw the classes of every task, as indices into `images`: (T, W).

        The first `ways` have labels, all W are among the unlabelled examples.
        """
        poorest = int(self.pool[self.class_sizes[self.pool].argmin()])
        count, needed = self.class_sizes[poorest], sizes.labels_per_class + sizes.queries
        if count < needed:
            raise InvalidInput(
                f"{self.name}: class {self.images.class_names[poorest]!r} has {count} "
                f"images, {sizes.labels_per_class} labels per class and {sizes.queries} queries "
                f"need {needed}"
            )
        every = min(round(ways * sizes.classes), len(self.pool))
        return np.stack([of_tasks.permutation(self.pool)[:every] for _ in range(sizes.tasks)])

    def unlabelled_rows(
        self, classes: np.ndarray, members: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw a row for every unlabelled example, given its class within its task, (U, T, B)."""
        chosen = np.take_along_axis(classes[None], members, axis=2)
        rows: np.ndarray = self.class_start[chosen] + rng.integers(self.class_sizes[chosen])
        return rows

    def labelled_rows(
        self, classes: np.ndarray, sizes: ProblemSizes, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the rows of every class, support and then query: (R, T, ways, k + queries)."""
        counts = np.broadcast_to(self.class_sizes[classes], (sizes.draws, *classes.shape))
        every = sizes.labels_per_class + sizes.queries
        rows: np.ndarray = self.class_start[classes][..., None] + distinct(counts, every, rng)
        return rows

    def labelled_x(self, plan: Tree, seed: int) -> tuple[Tensor, Targets | None]:
        """Make the labelled examples (R, T, K + K', N_0), and what transforms add to targets."""
        rows, members = plan["labelled_rows"], plan["labelled_members"]
        return self.pipeline.realise(*self._on_device, rows, members, plan["transforms"], seed)


def labelled_sides(rows: np.ndarray, k: int) -> dict[str, Tree]:
    """The part of a plan about labelled rows: support rows first, class by class.

    Args:
        rows: of every class, support and query (R, T, classes, k + queries).
        k: support rows of each class.
    """
    draws, tasks, ways, every = rows.shape
    classes = torch.arange(ways)
    sides = [part.reshape(draws, tasks, -1) for part in (rows[..., :k], rows[..., k:])]
    return {
        "labelled_members": torch.cat(
            [classes.repeat_interleave(k), classes.repeat_interleave(every - k)]
        ),
        "labelled_rows": torch.from_numpy(np.concatenate(sides, axis=2)),
        "support": ways * k,
    }


def labelled_of(x: Tensor, plan: Tree, ways: int, added: Targets | None = None) -> Labelled:
    """Labelled draws from examples in the order of `labelled_sides`.

    Args:
        x: (R, T, K + K', N_0).
        plan: with the items of `labelled_sides`.
        ways: classes of a task.
        added: further targets.
    """
    k = plan["support"]
    y = one_hot(plan["labelled_members"], ways).expand(*x.shape[:-1], ways)
    is_class = torch.ones(x.shape[1], ways, dtype=torch.bool, device=x.device)
    is_target = is_class
    if added is not None:
        y = torch.cat([y, added.values], dim=-1)
        is_target = torch.cat([is_class, added.is_target], dim=-1)
        is_class = torch.cat([is_class, torch.zeros_like(added.is_target)], dim=-1)
    return Labelled(x[:, :, :k], y[:, :, :k], x[:, :, k:], y[:, :, k:], is_class, is_target)


def distinct(counts: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Draw k distinct indices below each count, in random order: (...) to (..., k).

    Floyd's algorithm, for all counts at once.
    """
    chosen = np.empty((*counts.shape, 0), dtype=np.int64)
    for i in range(k):
        last = counts - k + i
        candidate = rng.integers(last + 1)
        taken = (chosen == candidate[..., None]).any(-1)
        chosen = np.concatenate([chosen, np.where(taken, last, candidate)[..., None]], axis=-1)
    return rng.permuted(chosen, axis=-1)


def draw_members(
    weights: np.ndarray, shape: tuple[int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Draw a class, 0 to W - 1, for every example.

    Args:
        weights: frequencies of the classes of every task, (T, W), in any units.
        shape: (U, T, B).
        rng: the generator.
    """
    if (weights == weights[:, :1]).all():
        return rng.integers(weights.shape[1], size=shape)
    cumulative = weights.cumsum(1)
    draws = rng.random(shape) * cumulative[:, -1:]
    members = [
        np.searchsorted(cumulative[task], draws[:, task], side="right") for task in range(shape[1])
    ]
    return np.stack(members, axis=1).clip(max=weights.shape[1] - 1)
