"""Tilted spectra and inverted images, of the families that ask for them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lit_lul.tasks.augmentation import Augmentation, make_inputs
from lit_lul.tasks.families import Family
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.transforms.spectrum import tilt

SIDE = 8
PLAIN = Family("plain", (0,), 1, False, 1.0)


@pytest.fixture
def x() -> Tensor:
    """(2, 3, 16, 2 × 64): U = 2, T = 3, B = 16, two channels."""
    return torch.rand(2, 3, 16, 2 * SIDE**2, generator=torch.Generator().manual_seed(0))


def wave(cycles: int) -> Tensor:
    return torch.cos(2 * torch.pi * cycles * torch.arange(SIDE) / SIDE).expand(SIDE, SIDE)


def test_frequencies_are_weighed_by_their_cycles() -> None:
    coarse, fine = wave(1), wave(3)
    images = torch.stack([coarse + fine, coarse - fine]).view(1, 2, -1)
    tilted = tilt(images, SIDE, torch.tensor([-2.0]))[0]
    coarse_part, fine_part = ((tilted[0] @ w.flatten()).item() for w in (coarse, fine))
    assert fine_part / coarse_part == pytest.approx((1 + 3) ** -2 / (1 + 1) ** -2)


def test_tasks_keep_mean_and_deviation(x: Tensor) -> None:
    tilted = tilt(x, SIDE, torch.tensor([-1.5, 0.0, 0.5]))
    torch.testing.assert_close(tilted[:, 1], x[:, 1])
    assert (tilted[:, [0, 2]] - x[:, [0, 2]]).abs().mean() > 0.05
    for of in (torch.mean, torch.std):
        torch.testing.assert_close(of(tilted, (0, 2, 3)), of(x, (0, 2, 3)), atol=1e-4, rtol=0)


def test_channels_are_tilted_apart(x: Tensor) -> None:
    other = x.clone()
    other[..., SIDE**2 :] = 0.5
    exponent = torch.full((3,), -1.0)
    a, b = (tilt(images, SIDE, exponent)[..., : SIDE**2] for images in (x, other))
    a, b = (images - images.mean((0, 2, 3), keepdim=True) for images in (a, b))
    scale = (a * b).sum((0, 2, 3), keepdim=True) / a.square().sum((0, 2, 3), keepdim=True)
    torch.testing.assert_close(a * scale, b, atol=1e-5, rtol=0)


def test_a_flat_image_stays_as_it_is() -> None:
    flat = torch.zeros(1, 2, SIDE**2)
    assert torch.equal(tilt(flat, SIDE, torch.tensor([-1.0])), flat)


def test_only_families_that_ask_are_changed() -> None:
    families = [PLAIN, replace(PLAIN, tilt=(-1.5, -0.5)), replace(PLAIN, inverted=1.0)] * 4
    settings = Augmentation(permutation=0, task_mask=0, example_mask=0)
    plain = settings.sample_inputs([PLAIN] * 12, SIDE**2, np.random.default_rng(0))
    inputs = settings.sample_inputs(families, SIDE**2, np.random.default_rng(0))
    assert not plain.tilt.any() and not plain.inverted.any()
    assert torch.equal(plain.image_shift, inputs.image_shift)
    assert len(inputs.tilt[1::3].unique()) == 4
    assert ((inputs.tilt[1::3] >= -1.5) & (inputs.tilt[1::3] <= -0.5)).all()
    assert not inputs.tilt[0::3].any() and not inputs.tilt[2::3].any()
    images = torch.randint(256, (5, 1, SIDE, SIDE), dtype=torch.uint8)
    rows = torch.arange(5).expand(12, 5)
    before, after = (make_inputs(images, rows, None, i, torch.Generator()) for i in (plain, inputs))
    torch.testing.assert_close(after[0::3], before[0::3])
    torch.testing.assert_close(after[1::3], tilt(before[1::3], SIDE, inputs.tilt[1::3]))
    torch.testing.assert_close(after[2::3], 1 - before[2::3])


def test_glyphs_pass_them_on() -> None:
    tasks = GlyphTasks(
        side=8, tilt=(-1.0, 0.5), inverted=0.25, printed=0.5, filled=0.3, elastic=0.1
    )
    for source in tasks.load():
        assert {(f.tilt, f.inverted, f.printed, f.filled, f.elastic) for f in source.families} == {
            ((-1.0, 0.5), 0.25, 0.5, 0.3, 0.1)
        }
