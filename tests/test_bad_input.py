"""What a person gets wrong is said in one line that names it."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lit_lul, refused
from safetensors.torch import save_file

from lit_lul.errors import InvalidInput
from lit_lul.files.theta import save_learner
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from lit_lul.training.checkpoints import settings_within

SMALL: dict[str, Any] = {"hidden_channels": 4, "error_channels": 3, "top_channels": 4}


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        (["--model.learner=Newest"], "Newest"),
        (["--model.learner.settings.hidden_channels=many"], "hidden_channels"),
        (["--data.sizes.labels_per_class=30"], "labels per class"),
        (["--data.sources.glyphs.ways=[5000]"], "5000"),
        (["--data.sources.glyphs.weight={first: 1, last: 2}"], "over"),
        (["--held_out.digits.labels_per_class=200"], "labels_per_class 200"),
        (["--modle.clip_norm=1"], "modle"),
        (["--data.validation_steps=${data.nowhere}"], "nowhere"),
        (["--config=nowhere.yaml"], "nowhere.yaml"),
        (["--data.sources.glyphs.transforms=[{class_path: Wobble}]"], "Wobble"),
        (["--ckpt_path=last"], "last"),
        (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt"),
    ],
)
def test_bad_options_are_named(run_folder: Path, options: list[str], culprit: str) -> None:
    with refused(re.escape(culprit)):
        lit_lul("fit", "--config", "tiny.yaml", *options)
    assert not list(run_folder.rglob("*.ckpt"))


@pytest.mark.parametrize(
    "option", ["--held_out.digits.draws=1", "--model.learner=Newest", "--modle.clip_norm=1"]
)
def test_one_line_and_no_traceback(
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    option: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["lit_lul", "fit", "--config", "tiny.yaml", option])
    with pytest.raises(SystemExit) as raised:
        runpy.run_module("lit_lul", run_name="__main__")
    assert str(raised.value.code).startswith("error: ")
    assert "\n" not in str(raised.value.code)
    printed = capfd.readouterr().err.splitlines()
    assert not [line for line in printed if "Seed set to" not in line]


def spoil(folder: Path) -> None:
    """Write spoilt copies of a run's files beside them."""
    for name in ("last.ckpt", "theta.safetensors"):
        whole = (folder / name).read_bytes()
        (folder / f"cut-{name}").write_bytes(whole[: len(whole) // 2])
    save_file({"weight": torch.ones(3)}, folder / "foreign.safetensors")
    torch.save({"state_dict": {}}, folder / "foreign.ckpt")
    (folder / "text.ckpt").write_text("not a checkpoint")


def test_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # nothing compiled before
    torch.compiler.reset()
    missing = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)})
    with missing, pytest.raises(InvalidInput) as raised:
        UnsupervisedUpdate(UpdateSettings(**SMALL)).prepare(compile=True)
    torch.compiler.reset()
    assert "model.compile: expected a working C++ compiler" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_bad_files_are_named(last: Path) -> None:
    folder = last.parent
    spoil(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for name in (
        "cut-last.ckpt",
        "foreign.ckpt",
        "text.ckpt",
        "cut-theta.safetensors",
        "foreign.safetensors",
    ):
        with pytest.raises(InvalidInput, match=name):
            settings_within(str(folder / name))
    for name, *options in (
        ("cut-last.ckpt",),
        ("theta.safetensors",),
        ("last.ckpt", "--model.learner.settings.hidden_channels=5"),
        ("last.ckpt", "--data.networks.hidden_units=[4,8]"),
    ):
        with pytest.raises(InvalidInput, match=name):
            lit_lul("fit", "--config=tiny.yaml", f"--ckpt_path={folder / name}", *options)
    wider = "--model.learner.settings.top_channels=5"
    theta = f"--ckpt_path={folder / 'theta.safetensors'}"
    with pytest.raises(InvalidInput, match=r"theta\.safetensors.*top_channels"):
        lit_lul("validate", "--config=tiny.yaml", wider, theta)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_failed_export_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "theta.safetensors"
    save_learner(UnsupervisedUpdate(UpdateSettings(**SMALL)), path)
    before = path.read_bytes()

    def full_disk(theta: object, temporary: Path, metadata: object) -> None:
        temporary.write_bytes(before[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lit_lul.files.theta.save_file", full_disk)
    with pytest.raises(InvalidInput, match="No space"):
        save_learner(UnsupervisedUpdate(UpdateSettings(**SMALL)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
