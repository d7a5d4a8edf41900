"""Characters printed on the silhouettes of others."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.tasks.transforms import Pipeline, Placement, Printing, Tasks
from lit_lul.tasks.transforms.printing import (
    BRIGHTNESS,
    INK,
    print_on,
    sample_kinds,
    silhouettes,
)

SIDE, WAYS, PER_CLASS, TASKS = 9, 4, 8, 3
SHADES = torch.arange(1, WAYS + 1, dtype=torch.uint8) * 50
MEMBERS = torch.arange(WAYS).repeat_interleave(30)


def square(size: int) -> Tensor:
    """An outline of size × size pixels, in the middle."""
    image = torch.zeros(SIDE, SIDE)
    first, last = (SIDE - size) // 2, (SIDE + size) // 2 - 1
    for edge in (first, last):
        image[edge, first : last + 1] = image[first : last + 1, edge] = 1
    return image


def image_set(one_of_each: Tensor) -> ImageSet:
    """As many equal images of every class, from (WAYS, side, side) in uint8."""
    pixels = one_of_each.repeat_interleave(PER_CLASS, 0).unsqueeze(1)
    return ImageSet(pixels, torch.arange(WAYS + 1) * PER_CLASS, tuple("abcd"))


def flat() -> ImageSet:
    """Every pixel of class c's images is 50 (c + 1)."""
    return image_set(SHADES.view(-1, 1, 1).repeat(1, SIDE, SIDE))


def tasks_of(images: ImageSet, count: int = TASKS) -> Tasks:
    """All classes, in their order."""
    classes = np.tile(np.arange(WAYS), (count, 1))
    return Tasks(count, images.inputs, classes, np.arange(WAYS), images)


def printed(
    images: ImageSet, pipeline: Pipeline, seed: int = 0
) -> tuple[Tensor, list[dict[str, Any] | None]]:
    """Two draws of 30 examples of each class of three tasks, (2, 3, 120, N_0)."""
    draws = pipeline.sample_tasks(tasks_of(images), [seed])
    rows = (MEMBERS * PER_CLASS).expand(2, TASKS, -1)
    x, _ = pipeline.realise(images.images, images.class_start, rows, MEMBERS, draws, 5)
    return x, draws


def test_silhouettes_are_filled() -> None:
    outline = square(4)
    assert outline[3:5, 3:5].max() == 0
    shape = silhouettes(outline.view(1, -1), SIDE).view(SIDE, SIDE)
    assert shape[3:5, 3:5].min() == 1
    assert shape[0].max() == shape[:, 0].max() == 0
    assert torch.equal(silhouettes(torch.zeros(1, SIDE**2), SIDE), torch.zeros(1, SIDE**2))


def test_ink_darkens_the_ground_alone() -> None:
    ground = torch.tensor([0.0, 1.0, 1.0]).view(1, 1, 3)
    figure = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 3)
    x = print_on(ground, figure, torch.tensor([[0.25]]), torch.tensor([[0.8]]))
    torch.testing.assert_close(x.flatten(), torch.tensor([0.0, 0.6, 0.8]))


def test_kinds_are_shared_evenly() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_kinds(range(50), 10, rng) for _ in range(200)]
    numbers = {len(np.unique(kinds)) for kinds in drawn}
    assert numbers == set(range(2, 11))
    for kinds in drawn:
        _, classes = np.unique(kinds, return_counts=True)
        assert np.ptp(classes) <= 1


def test_classes_stand_on_their_kinds() -> None:
    """Flat images of a class differ by the ground's brightness alone."""
    sizes = torch.stack([square(size) for size in (3, 5, 7, 9)])
    x, [draw] = printed(image_set((sizes * 255).to(torch.uint8)), Pipeline([Printing(1.0)]))
    assert draw is not None and draw["tasks"].tolist() == [0, 1, 2] and not draw["filled"].any()
    shapes = silhouettes(sizes.flatten(1), SIDE)
    for task in range(TASKS):
        for member in range(WAYS):
            ground = shapes[draw["kinds"][task, member]]
            clean = print_on(
                ground, sizes[member].flatten(), draw["ink"][task, None], torch.ones(1)
            )
            examples = x[:, task, member == MEMBERS].flatten(0, 1)
            light = examples.amax(-1, keepdim=True) / clean.amax()
            torch.testing.assert_close(examples, light * clean)
            assert BRIGHTNESS[0] <= light.min() + 1e-5 and light.max() <= BRIGHTNESS[1] + 1e-5
            assert len(light.unique()) == len(light)


def test_silhouettes_are_the_classes_of_filled_tasks() -> None:
    """Every class is printed with every character, in ink that differs."""
    outlines, printing = torch.stack([square(size) for size in (3, 5, 7, 9)]), Printing(0.0, 1.0)
    x, [draw] = printed(image_set((outlines * 255).to(torch.uint8)), Pipeline([printing]))
    assert draw is not None and draw["filled"].all()
    members = MEMBERS.expand(2, TASKS, -1)
    figures = printing.second_classes(draw, members, torch.Generator().manual_seed(0))
    for member in range(WAYS):
        assert len(figures[:, :, member == MEMBERS].unique()) == WAYS
    shapes = silhouettes(outlines.flatten(1), SIDE)[MEMBERS].expand(x.shape)
    assert not x[shapes == 0].any()
    light = x.amax(-1)
    assert light.min() >= BRIGHTNESS[0] * (1 - INK[1])
    ink = 1 - x / (shapes * light.unsqueeze(-1)).clamp(min=1e-6)
    ink = ink.masked_fill(shapes == 0, 0).amax(-1)
    assert (ink <= draw["ink"][:, None] + 1e-5).all()
    assert len(ink[:, 0].unique()) > 10


def test_shares_of_both_kinds_of_print() -> None:
    draw = Printing(0.25, 0.3).sample_task(tasks_of(flat(), 4000), np.random.default_rng(0))
    assert draw is not None
    assert len(draw["tasks"]) / 4000 == pytest.approx(0.55, abs=0.03)
    assert draw["filled"].sum() / 4000 == pytest.approx(0.3, abs=0.03)
    assert INK[0] <= draw["ink"].min() < 0.21 and 0.89 < draw["ink"].max() <= INK[1]


def test_other_tasks_stay_as_they_are() -> None:
    x, [draw] = printed(flat(), Pipeline([Printing(0.3, 0.3)]), seed=1)
    assert draw is not None and 0 < len(draw["tasks"]) < TASKS
    others = [task for task in range(TASKS) if task not in draw["tasks"]]
    plain = (SHADES[MEMBERS] / 255)[:, None].expand(x[:, others].shape)
    torch.testing.assert_close(x[:, others], plain)


def test_second_images_are_warped_on_their_own() -> None:
    """Each by a draw of its own, and only by the warps before the overlay."""
    images = image_set((torch.stack([square(3)] * WAYS) * 255).to(torch.uint8))
    fixed, shifted = Printing(1.0), Placement(turned=0, shifted=1, max_shift=3)

    def grounds(pipeline: Pipeline) -> Tensor:
        """The columns of the silhouettes' centres, (2 × 3 × 120,)."""
        x, _ = printed(images, pipeline)
        outside = x.unflatten(-1, (SIDE, SIDE)).amax(-2) > 0.1
        columns = torch.arange(SIDE).expand(outside.shape)
        centres: Tensor = (columns * outside).sum(-1) / outside.sum(-1)
        return centres.flatten()

    assert grounds(Pipeline([fixed])).unique().tolist() == [SIDE // 2]
    moved, together = grounds(Pipeline([shifted, fixed])), grounds(Pipeline([fixed, shifted]))
    assert moved.std() > 1 and together.std() > 1
    own, _ = printed(images, Pipeline([shifted]))
    columns = (own.unflatten(-1, (SIDE, SIDE)).sum(-2) * torch.arange(SIDE)).sum(-1) / own.sum(-1)
    pairs = torch.corrcoef(torch.stack([columns.flatten(), moved, together]))
    assert abs(pairs[0, 1]) < 0.2 and pairs[0, 2] > 0.95
