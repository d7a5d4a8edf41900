"""Tilted spectra."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.tasks.transforms import Pipeline, Printing, Tasks, Tilt

SIDE, CLASSES, PER_CLASS = 8, 4, 300


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Random images of two channels; class c has its own contrast."""
    noise = torch.rand(
        CLASSES, PER_CLASS, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0)
    )
    contrast = torch.arange(1, CLASSES + 1).view(-1, 1, 1, 1, 1) * 60
    start = torch.arange(CLASSES + 1) * PER_CLASS
    return ImageSet((noise * contrast).to(torch.uint8).flatten(0, 1), start, tuple("abcd"))


def tasks_of(images: ImageSet, count: int) -> Tasks:
    """Two classes each."""
    classes = np.array([[task % CLASSES, (task + 1) % CLASSES] for task in range(count)])
    return Tasks(count, images.inputs, classes, np.arange(CLASSES), images)


def of_tasks(images: ImageSet, tasks: Tasks) -> Tensor:
    """All images of the classes of every task, (T, B, N_0)."""
    x = images.images.flatten(1).view(CLASSES, PER_CLASS, -1) / 255
    return x[torch.from_numpy(tasks.classes)].flatten(1, 2)


def tilted(tilt: Tilt, x: Tensor, tasks: Tasks) -> Tensor:
    return tilt.apply(x, tilt.sample_task(tasks, np.random.default_rng(0)), None)


def wave(cycles: int) -> Tensor:
    return torch.cos(2 * torch.pi * cycles * torch.arange(SIDE) / SIDE).expand(SIDE, SIDE)


def test_frequencies_are_weighed_by_their_cycles(images: ImageSet) -> None:
    coarse, fine = wave(1), wave(3)
    x = torch.stack([coarse + fine, coarse - fine]).view(1, 2, -1)
    after = tilted(Tilt((-2.0, -2.0)), x, tasks_of(images, 1))[0]
    coarse_part, fine_part = ((after[0] @ w.flatten()).item() for w in (coarse, fine))
    assert fine_part / coarse_part == pytest.approx((1 + 3) ** -2 / (1 + 1) ** -2, rel=1e-4)


@pytest.mark.parametrize("exponent", [-1.5, 0.5])
def test_tasks_keep_mean_and_deviation(images: ImageSet, exponent: float) -> None:
    tasks = tasks_of(images, CLASSES)
    x = of_tasks(images, tasks)
    after = tilted(Tilt((exponent, exponent)), x, tasks)
    assert (after - x).abs().mean() > 0.03
    for of in (torch.mean, torch.std):
        torch.testing.assert_close(of(after, (1, 2)), of(x, (1, 2)), atol=0, rtol=0.1)


def test_an_image_is_the_same_in_every_batch(images: ImageSet) -> None:
    """The moments are those of a task, not of the images at hand."""
    tasks = tasks_of(images, 3)
    x = of_tasks(images, tasks)
    tilt = Tilt((-1.5, -0.5))
    first, second = (tilt.sample_task(tasks, np.random.default_rng(seed)) for seed in (1, 2))
    whole = tilt.apply(x, first, None)
    torch.testing.assert_close(
        tilt.apply(x[:, 50:53], first, None), whole[:, 50:53], atol=1e-6, rtol=0
    )
    other = tilt.apply(x, second, None)
    assert (other - whole).abs().mean() > 0.01


def test_channels_are_tilted_apart(images: ImageSet) -> None:
    tasks = tasks_of(images, 2)
    x = of_tasks(images, tasks)
    other = x.clone()
    other[..., SIDE**2 :] = 0.5
    tilt = Tilt((-1.0, -1.0))
    a, b = (tilted(tilt, images, tasks)[..., : SIDE**2] for images in (x, other))
    torch.testing.assert_close(a, b)


def test_flat_images_stay_as_they_are() -> None:
    images = ImageSet(
        torch.full((4, 1, SIDE, SIDE), 51, dtype=torch.uint8), torch.tensor([0, 4]), ("a",)
    )
    zero = np.zeros((2, 1), dtype=np.int64)
    x = torch.full((2, 3, SIDE**2), 0.2)
    after = tilted(Tilt((-1.0, 0.5)), x, Tasks(2, SIDE**2, zero, zero[0], images))
    torch.testing.assert_close(after, x)


def test_every_task_draws_its_exponent(images: ImageSet) -> None:
    task = Tilt((-1.5, -0.5)).sample_task(tasks_of(images, 40), np.random.default_rng(0))
    assert task is not None
    exponent = task["gain"][:, 0, 1].log2()  # one cycle per image
    assert len(exponent.unique()) == 40
    assert -1.5 <= exponent.min() < -1.4 and -0.6 < exponent.max() <= -0.5


def test_overlaid_tasks_are_left_alone(images: ImageSet) -> None:
    tasks = tasks_of(images, 12)
    pipeline = Pipeline([Printing(0.3, 0.3), Tilt((-1.5, -0.5))])
    printing, tilt = pipeline.sample_tasks(tasks, [0])
    assert printing is not None and tilt is not None
    printed = torch.zeros(12, dtype=torch.bool)
    printed[printing["tasks"]] = True
    assert 0 < printed.sum() < 12
    assert torch.equal((tilt["gain"] == 1).all(-1).all(-1), printed)
    x = of_tasks(images, tasks)
    after = Tilt((-1.5, -0.5)).apply(x, tilt, None)
    torch.testing.assert_close(after[printed], x[printed])
    [alone] = Pipeline([Tilt((-1.5, -0.5))]).sample_tasks(tasks, [0])
    assert alone is not None
    assert torch.equal(alone["gain"][~printed], tilt["gain"][~printed])
    first = Pipeline([Tilt((-1.5, -0.5)), Printing(0.3, 0.3)]).sample_tasks(tasks, [0])[0]
    assert first is not None and torch.equal(first["gain"], alone["gain"])
