"""Elastic deformation of the images of families that ask for it."""

from dataclasses import replace

import numpy as np
import torch

from lit_lul.tasks.augmentation import Augmentation, make_inputs
from lit_lul.tasks.families import Family
from lit_lul.tasks.transforms.elastic import LARGEST, displacements

SIDE = 14
PLAIN = Family("plain", (0,), 1, False, 1.0)


def draw(largest: list[float], seed: int = 0) -> torch.Tensor:
    """(2, T, 50, side, side, 2), in shares of the side."""
    generator = torch.Generator().manual_seed(seed)
    return displacements((2, len(largest), 50), torch.tensor(largest), SIDE, generator) / 2


def test_displacements_are_as_large_as_asked_for() -> None:
    moved = draw([0.0, 0.05, 0.15])
    assert moved.shape == (2, 3, 50, SIDE, SIDE, 2)
    assert not moved[:, 0].any()
    for task, largest in ((1, 0.05), (2, 0.15)):
        corners = moved[:, task, :, :: SIDE - 1, :: SIDE - 1].abs()
        assert 0.9 * largest < corners.max() <= largest * (1 + 1e-5)
    assert torch.equal(moved, draw([0.0, 0.05, 0.15])) and not torch.equal(
        moved, draw([0.0, 0.05, 0.15], seed=1)
    )


def test_images_hardly_fold() -> None:
    """Pixels keep their order along each axis; at the bound, all but the few of opposite moves."""
    for largest, share in ((LARGEST / 2, 0.0), (LARGEST, 0.01)):
        moved = draw([largest])
        along_x = moved[..., 0].diff(dim=-1) + 1 / SIDE
        along_y = moved[..., 1].diff(dim=-2) + 1 / SIDE
        for steps in (along_x, along_y):
            assert (steps < 0).float().mean() <= share


def test_only_families_that_ask_are_bent() -> None:
    families = [PLAIN, replace(PLAIN, elastic=0.15)] * 4
    settings = Augmentation(permutation=0, task_mask=0, example_mask=0)
    plain = settings.sample_inputs([PLAIN] * 8, SIDE**2, np.random.default_rng(0))
    inputs = settings.sample_inputs(families, SIDE**2, np.random.default_rng(0))
    assert not plain.elastic.any() and not inputs.elastic[::2].any()
    assert len(inputs.elastic[1::2].unique()) == 4
    assert ((inputs.elastic >= 0) & (inputs.elastic <= 0.15)).all()
    images = torch.randint(256, (5, 1, SIDE, SIDE), dtype=torch.uint8)
    rows = torch.arange(5).repeat(8, 20)
    placement = torch.zeros(8, 100, 7)
    before, after = (
        make_inputs(images, rows, placement, i, torch.Generator().manual_seed(0))
        for i in (plain, inputs)
    )
    torch.testing.assert_close(after[::2], before[::2], atol=1e-5, rtol=0)
    bent = after[1::2].unflatten(1, (20, 5))
    assert (bent[:, 0] - bent[:, 1]).abs().mean() > 0.01  # every example on its own
