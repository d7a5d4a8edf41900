"""Transforms that move pixels: rotation, shifts, distortion, elastic deformation."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from lit_lul.tasks.transforms import (
    Distortion,
    Elastic,
    Geometry,
    Pipeline,
    Placement,
    Tasks,
    Warp,
)
from lit_lul.tasks.transforms.warps import LARGEST
from lit_lul.trees import Tree

SIDE = 14


def tasks_of(count: int) -> Tasks:
    return Tasks(count, SIDE**2, np.zeros((count, 1), dtype=np.int64), np.zeros(1, dtype=np.int64))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def placed(image: Tensor, turn: float, right: float, down: float) -> Tensor:
    """One image, turned, then shifted by pixels."""
    return place(turn, right, down, image.shape[-1]).sample(image)


def place(turn: float, right: float, down: float, side: int) -> Geometry:
    examples = torch.tensor([[[turn, right / 4, down / 4]]])
    return Placement(max_shift=4.0).geometry(None, examples, side)


def test_placement_turns_and_shifts() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 1, 2] = 1.0
    assert placed(image, math.pi / 2, 0, 0)[0, 0].argmax().item() == 2 * 5 + 3
    assert placed(image, 0, 1, 0)[0, 0].argmax().item() == 1 * 5 + 3
    assert placed(image, 0, 0, 2)[0, 0].argmax().item() == 3 * 5 + 2
    assert placed(image, math.pi / 2, -1, 2)[0, 0].argmax().item() == 4 * 5 + 2
    torch.testing.assert_close(placed(image, 0, 0, 0), image)


def test_coefficients_are_targets_of_the_tasks_that_turn() -> None:
    transform = Placement(max_shift=4.0)
    turned = torch.tensor([True, False])
    examples = torch.tensor([[0.0, 0.5, -1.0], [2 * math.pi, 0.5, -1.0]]).expand(2, 2, 3)
    found = transform.targets({"turned": turned, "shifted": turned}, examples)
    assert found is not None
    values, has = found
    assert torch.equal(has, turned)
    torch.testing.assert_close(values[0, 0], torch.tensor([0.0, 1.0, 0.5, -1.0]))
    torch.testing.assert_close(values[0, 1], values[0, 0], atol=1e-6, rtol=0)


def test_placement_has_its_shares_and_bounds() -> None:
    transform = Placement(turned=0.5, shifted=0.25, max_shift=3.0)
    task = transform.sample_task(tasks_of(4000), np.random.default_rng(0))
    assert task is not None
    turned, shifted = task["turned"], task["shifted"]
    assert turned.float().mean() == pytest.approx(0.5, abs=0.03)
    assert shifted[~turned].float().mean() == pytest.approx(0.25, abs=0.03)
    angle, x, y = transform.sample_examples(task, (4000, 5), generator()).unbind(-1)
    assert angle.min() >= 0 and 6.2 < angle.max() < 2 * math.pi
    for shift in (x, y):
        assert -1 <= shift.min() < -0.99 and 0.99 < shift.max() <= 1
    alone = shifted & ~turned
    assert not angle[alone].any() and not y[alone].any() and x[alone].all()
    assert not angle[~shifted].any() and not x[~shifted].any()


def test_shifts_alone_have_no_targets() -> None:
    transform = Placement(turned=0, shifted=1)
    task = transform.sample_task(tasks_of(2), np.random.default_rng(0))
    assert transform.targets(task, transform.sample_examples(task, (2, 3), generator())) is None


def test_a_largest_shift_of_zero_has_no_shift_to_tell() -> None:
    transform = Placement(turned=1, max_shift=0)
    task = transform.sample_task(tasks_of(2), np.random.default_rng(0))
    found = transform.targets(task, transform.sample_examples(task, (2, 3), generator()))
    assert found is not None and found[0][..., 0].all() and not found[0][..., 2:].any()


def test_distortion_is_about_the_centre() -> None:
    def distorted(*entries: float) -> Tensor:
        return Distortion(0.4).geometry({}, torch.tensor([[entries]]), 9).sample(image)[0, 0]

    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 2:7] = 1.0
    narrow = distorted(0.4, 0, 0, 0)
    torch.testing.assert_close(narrow, narrow.flip(-1))
    assert narrow.sum() < 0.8 * image.sum()
    sheared = distorted(0, 0, 0.4, 0)
    torch.testing.assert_close(sheared, sheared.flip(0, 1))
    assert sheared[:4].sum() > 0.3 and sheared[4, 4] == 1


def test_every_image_is_distorted_its_own_way() -> None:
    transform = Distortion(0.3)
    task = transform.sample_task(tasks_of(2), np.random.default_rng(0))
    entries = transform.sample_examples(task, (2, 50), generator())
    assert len(entries.unique()) == entries.numel()
    assert -0.3 <= entries.min() < -0.29 and 0.29 < entries.max() <= 0.3


def displacements(largest: list[float]) -> Tensor:
    """Shifts of an elastic deformation, in shares of the side, (2, T, 50, 2, side, side)."""
    transform, shape = Elastic(LARGEST), (2, len(largest), 50)
    bounds = torch.tensor(largest)
    examples = transform.sample_examples(bounds, shape, generator())
    moved = transform.geometry(bounds, examples, SIDE).displacement
    assert moved is not None
    in_shares: Tensor = moved.unflatten(0, shape) / 2
    return in_shares


def test_elastic_displacements_are_as_large_as_asked_for() -> None:
    moved = displacements([0.0, 0.05, 0.15])
    assert moved.shape == (2, 3, 50, 2, SIDE, SIDE)
    assert not moved[:, 0].any()
    for task, largest in ((1, 0.05), (2, 0.15)):
        corners = moved[:, task, ..., :: SIDE - 1, :: SIDE - 1].abs()
        assert 0.9 * largest < corners.max() <= largest * (1 + 1e-5)


def test_elastic_images_hardly_fold() -> None:
    """Pixels keep their order along each axis; at the bound, all but the few of opposite moves."""
    for largest, share in ((LARGEST / 2, 0.0), (LARGEST, 0.01)):
        moved = displacements([largest])
        along_x = moved[..., 0, :, :].diff(dim=-1) + 1 / SIDE
        along_y = moved[..., 1, :, :].diff(dim=-2) + 1 / SIDE
        for steps in (along_x, along_y):
            assert (steps < 0).float().mean() <= share


def test_every_task_bends_as_far_as_it_draws() -> None:
    bounds = Elastic(0.15).sample_task(tasks_of(500), np.random.default_rng(0))
    assert bounds is not None and len(bounds.unique()) == 500
    assert 0 <= bounds.min() < 0.01 and 0.14 < bounds.max() <= 0.15


def split_field() -> Geometry:
    """The left half one pixel down, the right half one to the left."""
    field = torch.zeros(1, 2, SIDE, SIDE)
    field[:, 1, :, : SIDE // 2] = -2 / SIDE
    field[:, 0, :, SIDE // 2 :] = 2 / SIDE
    return Geometry(displacement=field)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (place(math.pi / 2, 0, 0, SIDE), place(0, 3, -1, SIDE)),
        (place(0, 3, -1, SIDE), place(math.pi / 2, 0, 0, SIDE)),
        (place(math.pi / 2, 1, 0, SIDE), split_field()),
        (split_field(), place(math.pi / 2, 1, 0, SIDE)),
        (split_field(), split_field()),
    ],
)
def test_one_geometry_is_as_good_as_two(first: Geometry, later: Geometry) -> None:
    """Where nothing is interpolated, sampling once equals sampling twice."""
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[..., 4:10, 4:10] = torch.rand(6, 6, generator=generator())
    once, twice = first.then(later).sample(image), later.sample(first.sample(image))
    torch.testing.assert_close(once, twice, atol=1e-4, rtol=0)
    assert not torch.allclose(once, image, atol=0.1)


@dataclass(frozen=True)
class ShiftRight(Warp):
    """Shifts every image by so many pixels."""

    pixels: float

    def sample_task(self, tasks: Tasks, rng: np.random.Generator) -> Tree:
        """Nothing."""
        return {}

    def sample_examples(
        self, task: Tree, shape: tuple[int, ...], generator: torch.Generator
    ) -> Tensor:
        """Nothing but a number for each."""
        return torch.zeros(shape)

    def geometry(self, task: Tree, examples: Tensor, side: int) -> Geometry:
        """To the right."""
        shift = torch.tensor([[1, 0, -2 * self.pixels / side], [0, 1, 0]])
        return Geometry(shift.expand(examples.numel(), 2, 3))


def test_warps_in_a_row_are_sampled_once() -> None:
    """So shifts by half a pixel, there and back, do not blur."""
    images = torch.randint(256, (4, 3, SIDE, SIDE), generator=generator(), dtype=torch.uint8)
    pipeline = Pipeline([ShiftRight(0.5), ShiftRight(1.0), ShiftRight(-1.5)])
    rows = torch.arange(4).view(1, 4)
    x, targets = pipeline.realise(images, torch.tensor([0, 4]), rows, rows * 0, [{}, {}, {}], 0)
    torch.testing.assert_close(x, (images / 255).view(1, 4, -1), atol=1e-5, rtol=0)
    assert targets is None
