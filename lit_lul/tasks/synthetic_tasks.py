"""Classification of synthetic rows: every task is a newly drawn generator, none is an image.

What a rule sees of permuted inputs is how they vary together, so tasks need no images. The idea is
that of TabPFN's prior over tables (Hollmann et al. 2023), the generators are not.

Shapes: U inner steps, T tasks, B examples, R draws, K labelled examples, N_0 inputs.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from lit_lul.constraints import Ordered
from lit_lul.data.prior import World, draw_world
from lit_lul.objectives.objective import Labelled
from lit_lul.tasks.class_tasks import distinct, draw_members, labelled_of, labelled_sides
from lit_lul.tasks.schedules import Weight
from lit_lul.tasks.sizes import ProblemSizes, log_uniform
from lit_lul.tasks.source import (
    Batches,
    Families,
    Family,
    Seeds,
    Source,
    TaskSource,
    TwoOrMore,
    one_hot,
)
from lit_lul.trees import Tree

POOL = 2
"""Labelled rows that are made per class, as a multiple of the labelled rows of one draw."""
COHORTS_KEPT = 64
"""Cohorts whose generators are kept between truncations."""


class WorldTasks(TaskSource):
    """Tasks of random generators of rows, drawn anew for every cohort.

    Args:
        name: prefix of the families' names.
        inputs: numbers of inputs, equally frequent; each is a family.
        ways: bounds on the classes of a task, which are log-uniform.
        weight: of all families together.
    """

    def __init__(self, name: str, inputs: list[int], ways: tuple[int, int], weight: Weight) -> None:
        self.ways = ways
        share = weight / len(inputs)
        self.families = [Family(f"{name}-{n}", ways[1], share, n) for n in inputs]
        self._worlds = lru_cache(COHORTS_KEPT)(_draw_worlds)

    def plan(self, family: Family, steps: int, sizes: ProblemSizes, seeds: Seeds) -> Tree:
        """Draw the classes of all rows."""
        of_tasks, rng = (np.random.default_rng([*s, 1]) for s in seeds)
        ways = log_uniform(self.ways, of_tasks.random())
        classes = round(ways * sizes.classes)
        tasks, k = sizes.tasks, sizes.labels_per_class + sizes.queries
        weights = np.exp(sizes.class_skew * of_tasks.normal(size=(tasks, classes)))
        members = draw_members(weights, (steps, tasks, sizes.batch_size), rng)
        counts = np.full((sizes.draws, tasks, ways), POOL * k)
        labelled = distinct(counts, k, rng) + POOL * k * np.arange(ways)[:, None]
        return {
            "worlds": (family.inputs, ways, classes, tasks, *seeds.tasks),
            "members": torch.from_numpy(members),
            "pool": torch.arange(ways).repeat_interleave(POOL * k),
            **labelled_sides(labelled, sizes.labels_per_class),
            "seeds": [int(s) for s in rng.integers(2**31, size=2)],
        }

    def realise(self, plan: Tree, device: torch.device) -> tuple[Batches, Labelled]:
        """Make the rows."""
        worlds = [world.to(device) for world in self._worlds(*plan["worlds"])]
        unlabelled_seed, labelled_seed = plan["seeds"]

        def make(steps: slice) -> Tensor:
            members = plan["members"][steps].transpose(0, 1)  # tasks first
            rows = _rows(worlds, members.flatten(1), unlabelled_seed + steps.start, device)
            return rows.view(*members.shape, -1).transpose(0, 1)

        def targets(steps: slice) -> Tensor:
            return one_hot(plan["members"][steps], plan["worlds"][1])

        rows = _rows(worlds, plan["pool"].expand(len(worlds), -1), labelled_seed, device)
        x = rows[torch.arange(len(worlds), device=device)[:, None], plan["labelled_rows"]]
        batches = Batches(len(plan["members"]), make, targets)
        return batches, labelled_of(x, plan, plan["worlds"][1])


def _draw_worlds(inputs: int, ways: int, classes: int, tasks: int, *seed: int) -> list[World]:
    """The generators of T tasks, on the CPU."""
    return [
        draw_world(classes, inputs, ways, np.random.default_rng([*seed, 2, task]))
        for task in range(tasks)
    ]


def _rows(worlds: list[World], members: Tensor, seed: int, device: torch.device) -> Tensor:
    """Rows (T, n, N_0) of given classes (T, n)."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.stack([world(m, generator) for world, m in zip(worlds, members, strict=True)])


@dataclass(frozen=True)
class SyntheticTasks(Source):
    """A source of synthetic tasks."""

    weight: Weight = 1.0
    """Share of these tasks, relative to the weights of the other sources; it may move."""
    inputs: Families = field(default_factory=lambda: [16, 32, 64, 128, 196, 400, 784])
    """Numbers of inputs, equally frequent."""
    ways: Annotated[tuple[TwoOrMore, TwoOrMore], Ordered()] = (2, 30)
    """Bounds on the number of classes of a task, both included; log-uniform."""

    def load(self, name: str, data_root: str | None) -> tuple[WorldTasks, WorldTasks]:
        """The tasks of training and of validation: other draws of the same generators."""
        tasks = WorldTasks(name, self.inputs, self.ways, self.weight)
        return tasks, tasks
