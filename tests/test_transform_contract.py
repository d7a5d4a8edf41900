"""Every transform keeps the contract of transforms: draws that are its own, and seeds."""

from dataclasses import replace
from io import BytesIO
from typing import NamedTuple

import numpy as np
import pytest
import torch
from test_network_contract import classes
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.tasks.transforms import (
    Distortion,
    Elastic,
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
    Warp,
)
from lit_lul.trees import Tree, map_tensors, tensors_of

SIDE, CLASSES, PER_CLASS, TASKS, WAYS = 8, 6, 5, 4, 3


class Case(NamedTuple):
    """A transform that changes some tasks of four, and the same one that changes none."""

    some: Transform
    none: Transform


CASES = [
    Case(Distortion(0.2), Distortion(0)),
    Case(Placement(0.5, 0.5, 2.0), Placement(0, 0)),
    Case(Elastic(0.1), Elastic(0)),
    Case(Printing(0.3, 0.3), Printing(0, 0)),
    Case(Tilt((-1.0, 0.5)), Tilt((0, 0))),
    Case(Inversion(0.5), Inversion(0)),
    Case(TaskMask(0.5), TaskMask(0)),
    Case(ExampleMask(0.5), ExampleMask(0)),
    Case(Permutation(0.5), Permutation(0)),
]
every_transform = pytest.mark.parametrize("case", CASES, ids=lambda case: type(case.some).__name__)
PIXELS = torch.randint(
    256,
    (CLASSES * PER_CLASS, 3, SIDE, SIDE),
    generator=torch.Generator().manual_seed(0),
    dtype=torch.uint8,
)
IMAGES = ImageSet(PIXELS, torch.arange(CLASSES + 1) * PER_CLASS, tuple("abcdef"))
MEMBERS = torch.randint(WAYS, (2, TASKS, 7), generator=torch.Generator().manual_seed(0))
CHOSEN = np.stack(
    [np.random.default_rng(task).permutation(CLASSES)[:WAYS] for task in range(TASKS)]
)
ROWS = IMAGES.class_start[torch.from_numpy(CHOSEN).expand(2, -1, -1).gather(-1, MEMBERS)]
OF_IMAGES = Tasks(TASKS, IMAGES.inputs, CHOSEN, np.arange(CLASSES), IMAGES)


def draw(transforms: list[Transform], seed: int = 1) -> list[Tree | None]:
    """What is fixed for four tasks."""
    return Pipeline(transforms).sample_tasks(OF_IMAGES, [seed, 2])


def realise(
    transforms: list[Transform], draws: list[Tree | None], seed: int = 0, rows: Tensor = ROWS
) -> Tensor:
    """Examples (2, 4, 7, N_0)."""
    given = (IMAGES.images, IMAGES.class_start, rows, MEMBERS, draws, seed)
    return Pipeline(transforms).realise(*given)[0]


def same(a: Tree, b: Tree) -> bool:
    """Whether two trees of draws are equal."""
    one, other = list(tensors_of(a)), list(tensors_of(b))
    return [name for name, _ in one] == [name for name, _ in other] and all(
        torch.equal(x, y) for (_, x), (_, y) in zip(one, other, strict=True)
    )


def test_every_transform_is_under_contract() -> None:
    assert {type(case.some) for case in CASES} == set(classes(Transform))


@every_transform
def test_seeds_determine_tasks_and_examples(case: Case) -> None:
    fixed, plain = draw([case.some]), realise([], [])
    assert same(fixed, draw([case.some]))
    assert fixed == [{}] or not same(fixed, draw([case.some], seed=3))
    x = realise([case.some], fixed)
    assert x.shape == plain.shape and x.dtype == torch.float32 and x.isfinite().all()
    assert not torch.equal(x, plain) and torch.equal(x, realise([case.some], fixed))
    assert isinstance(case.some, Tilt) or (x.min() >= 0 and x.max() <= 1)
    if isinstance(case.some, Warp | Overlay | ExampleMask):
        assert not torch.equal(x, realise([case.some], fixed, seed=9))
    else:
        assert torch.equal(x, realise([case.some], fixed, seed=9)), "fixed for a task"


@every_transform
def test_a_transform_of_no_task_is_skipped(case: Case) -> None:
    assert draw([case.none]) == [None]
    assert torch.equal(realise([case.none], [None]), realise([], []))


@every_transform
def test_tasks_are_independent(case: Case) -> None:
    fixed = draw([case.some])
    others = ROWS.clone()
    others[:, 1:] = 0
    x, changed = (realise([case.some], fixed, rows=rows) for rows in (ROWS, others))
    torch.testing.assert_close(changed[:, 0], x[:, 0])
    assert not torch.equal(changed[:, 1:], x[:, 1:])


@every_transform
def test_draws_come_back_from_a_file(case: Case) -> None:
    """As a checkpoint keeps them: loaded without unpickling."""
    fixed, file = draw([case.some]), BytesIO()
    torch.save(fixed, file)
    file.seek(0)
    back = torch.load(file, weights_only=True)
    assert torch.equal(realise([case.some], back), realise([case.some], fixed))


@every_transform
def test_no_value_of_a_tensor_decides_what_is_done(case: Case) -> None:
    """Tensors without values are enough, so nothing waits for a device."""
    given = [IMAGES.images, IMAGES.class_start, ROWS, MEMBERS, draw([case.some])]
    with FakeTensorMode() as mode:
        pixels, start, rows, members, fixed = map_tensors(mode.from_tensor, given)
        x, _ = Pipeline([case.some]).realise(pixels, start, rows, members, fixed, 0)
    assert x.shape == (2, TASKS, 7, IMAGES.inputs)


@every_transform
def test_a_transform_more_changes_no_other_draws(case: Case) -> None:
    every = [other.some for other in CASES]
    place = every.index(case.some)
    fewer = [*every[:place], *every[place + 1 :]]
    before = draw(every)
    assert all(fixed is not None for fixed in before)
    for transform, one, other in zip(
        fewer, [*before[:place], *before[place + 1 :]], draw(fewer), strict=True
    ):
        # a tilt leaves tasks alone that are printed
        assert same(one, other) or (type(case.some), type(transform)) == (Printing, Tilt)


@every_transform
def test_transforms_of_images_ask_for_them(case: Case) -> None:
    rows_alone, pipeline = replace(OF_IMAGES, images=None), Pipeline([case.some])
    if isinstance(case.some, Warp | Overlay | Tilt):
        with pytest.raises(InvalidInput, match=f"{type(case.some).__name__}: expected images"):
            pipeline.sample_tasks(rows_alone, [0])
    else:
        table = (IMAGES.images.flatten(1), IMAGES.class_start, ROWS, MEMBERS)
        x, _ = pipeline.realise(*table, pipeline.sample_tasks(rows_alone, [1, 2]), 0)
        assert torch.equal(x, realise([case.some], draw([case.some])))
