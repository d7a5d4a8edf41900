"""Tasks of your own in docs/extending.md run as they are, and do what it says."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import metrics
from extending_page import count_calls, fit, run, write_files
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.tasks import GlyphTasks
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.source import Seeds
from lit_lul.tasks.transforms import Permutation, Placement, Transform
from lit_lul.trees import tensors_of

SIZES = ProblemSizes(tasks=40, batch_size=9, labels_per_class=2, draws=1)


@pytest.fixture
def folder(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from write_files(run_folder, monkeypatch)


def inputs(transforms: list[Transform]) -> tuple[dict[str, Any], Tensor]:
    """Plan and unlabelled inputs (U, T, B, N_0) of characters under transforms."""
    source, _ = GlyphTasks(side=8, ways=[3], transforms=transforms).load("glyphs", None)
    plan = source.plan(source.families[0], 2, SIZES, Seeds([0, 1], [0, 2]))
    batches, _ = source.realise(plan, torch.device("cpu"))
    return plan, torch.stack([batch.x for batch in batches])


def test_transform(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = importlib.import_module("my_noise").Noise
    calls = count_calls(monkeypatch, noise, "apply")
    fit("my_noise.yaml", "--held_out={}")
    assert calls
    others = [Placement(0.5, 0.5, 1.0), Permutation()]
    plain, x = inputs(others)
    noisy, y = inputs([others[0], noise(0.5, 0.3), others[1]])
    draws = noisy["transforms"]
    assert torch.equal(plain["rows"], noisy["rows"])
    for before, after in zip(plain["transforms"], [draws[0], draws[2]], strict=True):
        for (_, one), (_, other) in zip(tensors_of(before), tensors_of(after), strict=True):
            assert torch.equal(one, other)
    std = draws[1]["std"]
    quiet = std == 0
    assert 10 <= quiet.sum() <= 30 and std.max() > 0.2
    assert torch.equal(x[:, quiet], y[:, quiet])
    assert (x != y)[:, ~quiet].all()
    measured = (y - x)[:, ~quiet].transpose(0, 1).flatten(1).std(1)
    torch.testing.assert_close(measured, std[~quiet], rtol=0.15, atol=0)
    with pytest.raises(InvalidInput, match=r"Noise\.share must be .*, got 1\.5"):
        noise(share=1.5)


def test_warp(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoom = importlib.import_module("my_zoom").Zoom
    calls = count_calls(monkeypatch, zoom, "geometry")
    fit("my_zoom.yaml", "--held_out={}")
    assert calls
    _, x = inputs([])
    assert torch.equal(inputs([zoom(1.0)])[1], x)
    _, y = inputs([zoom(1.5)])
    assert (x != y).any(-1).all()
    images = torch.zeros(1, 1, 8, 8)
    images[..., 2:6, 2:6] = 1.0  # a square of half the side, enlarged and halved
    areas = [
        zoom().geometry({}, torch.tensor([factor]), 8).sample(images).sum().item()
        for factor in (1.0, 1.5, 0.5)
    ]
    assert areas == pytest.approx([16, 36, 4])


def test_source(folder: Path) -> None:
    run("python make_rows.py")
    fitted = fit("my_source.yaml", "--held_out={}")
    logged = {name for row in metrics(fitted) for name in row}
    assert {"train/meta_loss/rows-5", "train/meta_loss/glyphs-10"} <= logged
    source = importlib.import_module("my_source").NpzTasks("rows.npz", [5])
    training, validation = source.load("rows", None)
    assert sorted([*training.pool, *validation.pool]) == list(range(20))
    assert validation.pool.tolist() == [15, 16, 17, 18, 19]
    plan = training.plan(training.families[0], 2, SIZES, Seeds([0, 1], [0, 2]))
    batches, drawn = training.realise(plan, torch.device("cpu"))
    with np.load("rows.npz") as file:
        class_of = {row.tobytes(): int(y) for row, y in zip(file["x"], file["y"], strict=True)}
    for batch in batches:
        assert {class_of[row.numpy().tobytes()] for row in batch.x.flatten(0, 1)} == set(range(15))
    for x, y in zip(drawn.support_x[0], drawn.support_y[0], strict=True):
        classes = [class_of[row.numpy().tobytes()] for row in x]
        assert len(set(classes)) == 5
        assert len(set(zip(classes, y.argmax(-1).tolist(), strict=True))) == 5


def test_what_is_wrong_with_rows_is_one_line(folder: Path) -> None:
    run("python make_rows.py")
    source = importlib.import_module("my_source").NpzTasks
    for path in ("nowhere.npz", "my_rule.py"):
        with pytest.raises(InvalidInput, match=rf"{path}: expected \.npz with x and y"):
            source(path, [5]).load("rows", None)
    with pytest.raises(InvalidInput, match="16 classes asked for, 15 to draw from"):
        source("rows.npz", [16]).load("rows", None)
    training, _ = source("rows.npz", [5], transforms=[Placement()]).load("rows", None)
    with pytest.raises(InvalidInput, match="Placement: expected images"):
        training.plan(training.families[0], 2, SIZES, Seeds([0, 1], [0, 2]))
