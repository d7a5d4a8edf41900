"""Masks, permutation and inversion; what holds for every list of transforms."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.tasks.transforms import (
    ExampleMask,
    Inversion,
    Overlay,
    Permutation,
    Pipeline,
    Placement,
    Printing,
    TaskMask,
    Tasks,
    Tilt,
    Transform,
)
from lit_lul.trees import Tree

SIDE, CLASSES, PER_CLASS, TASKS, WAYS = 8, 6, 5, 4, 3


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Random images of three channels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(
        256, (CLASSES * PER_CLASS, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8
    )
    return ImageSet(pixels, torch.arange(CLASSES + 1) * PER_CLASS, tuple("abcdef"))


def table(tasks: int = TASKS, inputs: int = 50) -> Tasks:
    """Tasks of rows that are no images."""
    classes = np.zeros((tasks, WAYS), dtype=np.int64)
    return Tasks(tasks, inputs, classes, np.zeros(1, dtype=np.int64))


def of_images(images: ImageSet, tasks: int = TASKS) -> Tasks:
    rng = np.random.default_rng(0)
    pool = np.arange(CLASSES)
    classes = np.stack([rng.permutation(pool)[:WAYS] for _ in range(tasks)])
    return Tasks(tasks, images.inputs, classes, pool, images)


def examples(tasks: Tasks, images: ImageSet) -> tuple[Tensor, Tensor]:
    """Rows and members, (2, T, 7)."""
    generator = torch.Generator().manual_seed(0)
    members = torch.randint(WAYS, (2, tasks.count, 7), generator=generator)
    classes = torch.from_numpy(tasks.classes).expand(2, -1, -1).gather(-1, members)
    return images.class_start[classes], members


def run(transforms: list[Transform], x: Tensor, seed: int = 0) -> Tensor:
    """A table's rows (..., T, B, N_0) through transforms."""
    pipeline = Pipeline(transforms)
    draws = pipeline.sample_tasks(table(x.shape[-3], x.shape[-1]), [seed])
    rows = torch.arange(x[..., 0].numel()).view(x.shape[:-1])
    return pipeline.realise(x.flatten(0, -2), torch.empty(0), rows, rows, draws, seed)[0]


def test_permutation_is_per_task() -> None:
    x = torch.arange(50.0).expand(2, TASKS, 5, 50)
    y = run([Permutation()], x)
    assert torch.equal(y.sort(-1).values, x)
    assert len(y.flatten(0, 1).unique(dim=0)) == TASKS
    assert len(y.transpose(0, 1).flatten(1, 2).unique(dim=1)[0]) == 1


def test_task_masks_are_those_of_all_examples() -> None:
    kept = run([TaskMask(share=1)], torch.ones(2, 200, 5, 50))
    assert torch.equal(kept, kept[:1, :, :1].expand(kept.shape))
    masked = 1 - kept[0, :, 0].mean(-1)
    assert masked.mean() == pytest.approx(0.25, abs=0.03)
    assert masked.min() < 0.05 and 0.45 < masked.max() < 0.75


def test_example_masks_differ_between_examples() -> None:
    kept = run([ExampleMask(share=1)], torch.ones(2, 200, 5, 50))
    assert len(kept[:, 0].flatten(0, 1).unique(dim=0)) == 10
    masked = 1 - kept.mean((0, 2, 3))
    assert masked.mean() == pytest.approx(0.25, abs=0.03)
    assert masked.min() < 0.05 and 0.45 < masked.max() < 0.6


def test_inverted_tasks_are_dark_on_light() -> None:
    x = torch.rand(2, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run([Inversion(1)], x), 1 - x)


@pytest.mark.parametrize("make", [Inversion, Permutation, TaskMask, ExampleMask])
def test_shares_of_the_tasks(make: Any) -> None:
    """A share of the tasks is changed, all others are not."""
    x = torch.rand(2000, 3, 50, generator=torch.Generator().manual_seed(0))
    changed = (run([make(share=0.3)], x) != x).any(-1).any(-1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.04)


def test_transforms_follow_the_order_of_the_list() -> None:
    x = torch.rand(TASKS, 3, 50, generator=torch.Generator().manual_seed(0))
    mask = run([TaskMask(share=1, largest=1)], torch.ones_like(x))
    torch.testing.assert_close(run([Inversion(1), TaskMask(1, 1)], x), (1 - x) * mask)
    torch.testing.assert_close(run([TaskMask(1, 1), Inversion(1)], x), 1 - x * mask)


def test_a_transform_more_changes_no_others_examples() -> None:
    x = torch.ones(2, TASKS, 5, 50)
    alone = run([ExampleMask(1, 1)], x)
    assert torch.equal(
        run([Permutation(0), Inversion(0), TaskMask(1, 0), ExampleMask(1, 1)], x), alone
    )
    both = run([ExampleMask(1, 1), ExampleMask(1, 1)], x)
    assert torch.equal(both, both * alone) and not torch.equal(both, alone)


def test_tables_are_gathered(images: ImageSet) -> None:
    """Bytes become [0, 1], floats stay."""
    pipeline, rows = Pipeline([]), torch.tensor([[3, 1], [0, 0]])
    flat = images.images.flatten(1)
    for rows_of, expected in ((flat, flat / 255), (flat.double(), flat.float())):
        x, targets = pipeline.realise(rows_of, images.class_start, rows, rows, [], 0)
        torch.testing.assert_close(x, expected[rows])
        assert targets is None


@dataclass(frozen=True)
class SecondAlone(Overlay):
    """Shows any image of a class in place of every example of some tasks."""

    shown: int
    tasks: tuple[int, ...]

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> dict[str, Any]:
        """Fixed."""
        return {"tasks": torch.tensor(self.tasks)}

    def second_classes(self, task: Tree, members: Tensor, generator: torch.Generator) -> Tensor:
        """Always the same."""
        return torch.full_like(members, self.shown)

    def combine(
        self, x: Tensor, second: Tensor, task: Tree, side: int, generator: torch.Generator
    ) -> Tensor:
        """The second alone."""
        return second


def test_second_images_are_any_of_their_class(images: ImageSet) -> None:
    pipeline = Pipeline([SecondAlone(4, (0, 2))])
    draws = pipeline.sample_tasks(of_images(images), [0])
    rows = torch.zeros(500, TASKS, 1, dtype=torch.int64)
    x, _ = pipeline.realise(images.images, images.class_start, rows, rows, draws, 0)
    flat = images.images.flatten(1) / 255
    assert torch.equal(x[:, [1, 3]], flat[0].expand(500, 2, 1, -1))
    seen = (x[:, [0, 2]].unsqueeze(-2) == flat).all(-1).sum((0, 1, 2))
    assert seen.sum() == 1000
    assert seen[4 * PER_CLASS : 5 * PER_CLASS].min() > 150


def test_targets_are_side_by_side(images: ImageSet) -> None:
    pipeline = Pipeline([Placement(0.5, 0, 2.0), Permutation(), Placement(0.5, 0, 1.0)])
    tasks = of_images(images)
    rows, members = examples(tasks, images)
    draws = pipeline.sample_tasks(tasks, [0])
    _, targets = pipeline.realise(images.images, images.class_start, rows, members, draws, 0)
    assert targets is not None and draws[0] is not None and draws[2] is not None
    assert targets.values.shape == (2, TASKS, 7, 8)
    expected = torch.stack([draws[0]["turned"], draws[2]["turned"]], 1).repeat_interleave(4, 1)
    assert torch.equal(targets.is_target, expected)
    assert not expected[:, 0].equal(expected[:, 4])
    for columns in (targets.values[..., :2], targets.values[..., 4:6]):
        torch.testing.assert_close(columns.square().sum(-1), torch.ones(2, TASKS, 7))


def test_configurations_name_classes_alone() -> None:
    parser = ArgumentParser()
    parser.add_argument("--transforms", type=list[Transform])
    named = [
        {"class_path": "Tilt", "init_args": {"bounds": [-1.2, 0.3]}},
        {"class_path": "Printing", "init_args": {"printed": 0.15, "filled": 0.25}},
        {"class_path": "Permutation"},
    ]
    made = parser.instantiate(parser.parse_object({"transforms": named}))
    assert made.transforms == [Tilt((-1.2, 0.3)), Printing(0.15, 0.25), Permutation(1.0)]


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (lambda: Printing(0.6, 0.5), r"at most 1, got 0\.6 and 0\.5"),
        (lambda: Tilt((0.5, -0.5)), r"Tilt\.bounds must be in order, got \(0\.5, -0\.5\)"),
    ],
)
def test_bad_arguments_are_named(make: Any, culprit: str) -> None:
    with pytest.raises(InvalidInput, match=culprit):
        make()
