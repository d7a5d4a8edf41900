"""Characters printed on silhouettes, of the families that ask for them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lit_lul.data.image_set import ImageSet
from lit_lul.tasks.augmentation import INK, Augmentation
from lit_lul.tasks.batch import make_batch
from lit_lul.tasks.cohorts import CohortSampler
from lit_lul.tasks.draw import TruncationDraw
from lit_lul.tasks.families import Family, TaskSource
from lit_lul.tasks.settings import Architectures, CohortSettings
from lit_lul.tasks.transforms.prints import BRIGHTNESS, print_on, sample_kinds, silhouettes
from lit_lul.training.schedules import ProblemLength, UnrollLength

SIDE, WAYS, PER_CLASS = 9, 4, 8
PLAIN = Family("plain", tuple(range(WAYS)), WAYS, False, 1.0)


def square(size: int) -> torch.Tensor:
    """An outline of size × size pixels, in the middle."""
    image = torch.zeros(SIDE, SIDE)
    first, last = (SIDE - size) // 2, (SIDE + size) // 2 - 1
    for edge in (first, last):
        image[edge, first : last + 1] = image[first : last + 1, edge] = 1
    return image


@pytest.fixture
def images() -> ImageSet:
    """Every pixel of class c's images is 50 (c + 1)."""
    light = torch.arange(1, WAYS + 1, dtype=torch.uint8).repeat_interleave(PER_CLASS) * 50
    pixels = light.view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE).contiguous()
    return ImageSet(pixels, torch.arange(WAYS + 1) * PER_CLASS, tuple("abcd"))


def draw_one(images: ImageSet, family: Family, **augmentation: float) -> TruncationDraw:
    """A truncation of two inner steps of three tasks."""
    sampler = CohortSampler(
        [TaskSource(images, [family])],
        CohortSettings(cohorts=1, tasks=3, batch_size=6, labels_per_class=3, draws=2),
        Architectures((1, 1), (4, 4)),
        Augmentation(permutation=0, task_mask=0, example_mask=0, **augmentation),
        UnrollLength((2, 2), (2, 2), 1),
        ProblemLength(9, 9, 1, 0),
        5,
        seed=1,
        total=1,
    )
    return sampler.draw(0, True, 0, 2, np.random.default_rng(1), np.random.default_rng(2))


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


def test_classes_stand_on_their_kinds(images: ImageSet) -> None:
    draw = draw_one(images, replace(PLAIN, printed=1.0), image_shift=0.0)
    prints = draw.labelled_prints
    assert prints is not None and prints.placement is None
    assert prints.tasks.tolist() == [0, 1, 2]
    assert ((draw.inputs.ink > INK[0]) & (draw.inputs.ink < INK[1])).all()
    kinds = prints.rows // PER_CLASS
    for task in range(3):
        for c in range(WAYS):
            assert len(kinds[:, task, draw.classes == c].unique()) == 1
        assert len(kinds[:, task].unique()) >= 2

    batch = make_batch(draw, images.images, 0.0)
    ink, figure = draw.inputs.ink[:, None], (draw.unlabelled_rows // PER_CLASS + 1) * 50 / 255
    light = batch.unlabelled[..., SIDE**2 // 2] / (1 - ink * figure)
    assert light.min() >= BRIGHTNESS[0] - 1e-5 and light.max() <= BRIGHTNESS[1] + 1e-5
    assert light.unique().numel() == light.numel()


def test_printed_tasks_are_placed_and_keep_their_spectrum(images: ImageSet) -> None:
    family = replace(PLAIN, printed=0.5, distortion=0.3, tilt=(-1.0, -0.5))
    draw = draw_one(images, family)
    prints = draw.unlabelled_prints
    assert prints is not None and prints.placement is not None
    assert 0 < len(prints.tasks) < 3
    assert prints.placement.shape == (2, len(prints.tasks), 6, 7)
    assert prints.placement.any()
    printed = torch.zeros(3, dtype=torch.bool)
    printed[prints.tasks] = True
    assert torch.equal(draw.inputs.tilt == 0, printed)
    assert torch.equal(draw.inputs.ink > 0, printed)


def test_silhouettes_are_the_classes_of_filled_tasks(images: ImageSet) -> None:
    draw = draw_one(images, replace(PLAIN, filled=1.0), image_shift=0.0)
    prints = draw.labelled_prints
    assert prints is not None and draw.inputs.filled.all()
    printed = prints.rows // PER_CLASS
    for c in range(WAYS):
        assert len(printed[:, :, draw.classes == c].unique()) == WAYS

    outlines = torch.stack([square(size) for size in (3, 5, 7, 9)]).repeat_interleave(PER_CLASS, 0)
    batch = make_batch(draw, (outlines * 255).to(torch.uint8).unsqueeze(1), 0.0)
    shapes = silhouettes(outlines.flatten(1), SIDE)[draw.unlabelled_rows]
    assert not batch.unlabelled[shapes == 0].any()
    light = batch.unlabelled.amax(-1)
    assert light.min() >= BRIGHTNESS[0] * (1 - INK[1])
    ink = 1 - batch.unlabelled / (shapes * light.unsqueeze(-1)).clamp(min=1e-6)
    ink = ink.masked_fill(shapes == 0, 0).amax(-1)
    assert (ink <= draw.inputs.ink[:, None] + 1e-5).all()
    assert len(ink[:, 0].unique()) > 2


def test_shares_of_both_kinds_of_print() -> None:
    families = [replace(PLAIN, printed=0.25, filled=0.25)] * 4000
    inputs = Augmentation().sample_inputs(families, 4, np.random.default_rng(0))
    assert (inputs.ink > 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert inputs.filled.float().mean() == pytest.approx(0.25, abs=0.03)
    assert (inputs.ink[inputs.filled] > 0).all()


def test_nothing_else_changes_where_no_task_is_printed(images: ImageSet) -> None:
    plain, printed = (draw_one(images, replace(PLAIN, printed=p)) for p in (0.0, 1e-9))
    assert plain.unlabelled_prints is None and printed.unlabelled_prints is None
    assert torch.equal(plain.labelled_rows, printed.labelled_rows)
