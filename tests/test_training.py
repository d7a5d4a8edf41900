"""Runs of the command line: what they write, and that an interrupted one loses nothing."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from conftest import (
    TINY,
    Finished,
    lit_lul,
    log_folder,
    losses,
    metrics,
    ready,
    refused,
    same_theta,
    wait_for_step,
)
from omegaconf import OmegaConf

from lit_lul.devices import check_precision
from lit_lul.errors import InvalidInput
from lit_lul.estimators.truncated_backprop import flatten
from lit_lul.files.theta import load_learner, stored_settings
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from lit_lul.training.loggers import claim_version
from lit_lul.training.module import MetaLightningModule

CONFIGS = Path(__file__).parents[1] / "configs"
NO_CURVES = "--held_out={}"
FIT = ["fit", "--config", "tiny.yaml", NO_CURVES]


def test_fit_leaves_everything_it_names(finished: Finished) -> None:
    folder, printed = finished
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {
        "checkpoints/last.ckpt",
        "checkpoints/mean_theta.safetensors",
        "checkpoints/theta.md",
        "checkpoints/theta.safetensors",
        "config.yaml",
        "digits_curve.csv",
        "digits_curve.json",
        "digits_curve.png",
        "digits_embedding.png",
        "digits_receptive_fields.png",
        "metrics.csv",
    }
    names = ("theta.safetensors", "theta.md", "digits_curve.csv", "digits_curve.png")
    for name in (*names, "before the inner loop"):
        assert name in printed
    rows = metrics(folder)
    steps = [int(row["step"]) for row in rows if "train/meta_loss" in row]
    assert steps == [1, 2, 3, 4]
    assert [int(row["step"]) for row in rows if "digits/ridge_at_2" in row] == [0, 2, 4]
    families = [name for row in rows for name in row if name.startswith("train/meta_loss/glyphs-3")]
    assert families
    with (folder / "digits_curve.csv").open() as file:
        curve = list(csv.DictReader(file))
    assert [row["outer_step"] for row in curve] == ["initial"] * 6 + ["0"] * 6 + ["2"] * 6 + [
        "4"
    ] * 6
    assert all(0 <= float(row["accuracy"]) <= 1 for row in curve)
    rule = load_learner(folder / "checkpoints" / "theta.safetensors")
    assert rule.settings.hidden_channels == 4
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    for name, tensor in rule.state_dict().items():
        assert torch.equal(tensor, checkpoint["state_dict"][f"learner.{name}"])


@pytest.mark.usefixtures("until_ready")
def test_command_line_overrides_hold_in_interpolations(run_folder: Path) -> None:
    interpolated = OmegaConf.load("tiny.yaml")
    OmegaConf.update(interpolated, "data.validation_steps", "${data.problem_length.first}")
    OmegaConf.save(interpolated, "interpolated.yaml")
    config = ready("--config", "interpolated.yaml", "--data.problem_length.first=3")
    assert config.data.validation_steps == 3


def test_settings_of_the_command_line_are_stored_with_theta_and_win(run_folder: Path) -> None:
    """What a configuration leaves open is the file's; what it says otherwise is an error."""
    growth = "--model.learner.settings.growth"
    lit_lul(*FIT, f"{growth}=0.5", "--trainer.max_steps=1")
    folder = log_folder(run_folder) / "checkpoints"
    sizes = TINY["model"]["learner"]["init_args"]["settings"]
    theta = folder / "theta.safetensors"
    assert load_learner(theta).settings == UpdateSettings(growth=0.5, **sizes)
    assert stored_settings(theta)[0] == "UnsupervisedUpdate"
    for run, stage in enumerate(
        (
            ["validate", "--ckpt_path"],
            ["fit", "--trainer.max_steps=2", "--ckpt_path"],
        ),
        start=1,
    ):
        options = [*stage, str(folder / "last.ckpt"), "--config", "tiny.yaml", NO_CURVES]
        lit_lul(*options)
        config = OmegaConf.load(log_folder(run_folder, run) / "config.yaml")
        assert OmegaConf.select(config, "model.learner.init_args.settings.growth") == 0.5
        with refused(r"last\.ckpt.*growth.*0\.5.*0\.25"):
            lit_lul(*options, f"{growth}=0.25")


@pytest.mark.usefixtures("until_ready")
def test_weights_are_numbers_or_schedules(run_folder: Path) -> None:
    moving = {"first": 0.5, "last": 1.0, "over": 3}
    source = {"glyphs": {"init_args": {"weight": moving}}}
    values = {"base": "tiny.yaml", "data": {"sources": source}}
    OmegaConf.save(OmegaConf.create(values), "moving.yaml")
    weight = "--data.sources.glyphs.init_args.weight"
    for option, expected in (
        (f"{weight}.last=0.25", moving | {"last": 0.25}),
        (f"{weight}=0.25", 0.25),
    ):
        config = ready("--config=moving.yaml", option)
        found = config.data.sources["glyphs"].init_args.weight
        assert (found if isinstance(found, float) else dict(found)) == expected


def test_theta_of_another_class_is_refused(last: Path) -> None:
    theta = str(last.with_name("theta.safetensors"))
    with pytest.raises(InvalidInput, match=r"UnsupervisedUpdate.*LocalRule"):
        lit_lul("validate", "--config", str(CONFIGS / "hebbian.yaml"), "--ckpt_path", theta)


@pytest.mark.slow
def test_compiled_run_with_bf16_hidden_states(run_folder: Path, finished: Finished) -> None:
    options = ["--model.compile=true", "--trainer.precision=bf16-mixed", "--trainer.max_steps=1"]
    lit_lul(*FIT, *options)
    exact, quick = (float(losses(path)[0]) for path in (finished.folder, log_folder(run_folder)))
    assert quick == pytest.approx(exact, rel=0.02)
    assert quick != exact
    theta = load_learner(log_folder(run_folder) / "checkpoints" / "theta.safetensors")
    assert {p.dtype for p in theta.parameters()} == {torch.float32}


@pytest.mark.usefixtures("run_folder", "until_ready")
@pytest.mark.parametrize(
    ("native", "compiler", "precision"),
    [(True, True, "bf16-mixed"), (False, True, "32-true"), (True, False, "32-true")],
)
def test_the_machine_decides_what_is_null(
    native: bool,
    compiler: bool,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lit_lul.devices.has_native_bf16", lambda device: native)
    monkeypatch.setattr("lit_lul.cli.has_compiler", lambda: compiler)
    monkeypatch.setattr(UnsupervisedUpdate, "prepare", lambda self, compile: None)
    config = ready("--config=tiny.yaml", "--model.compile=null")
    chosen = f"model.compile {str(compiler).lower()}, trainer.precision {precision}"
    assert chosen in capsys.readouterr().err
    assert config.trainer.precision == precision  # saved, so a resumed run has the same
    assert config.model.compile is compiler


def test_precisions_that_are_not_tested_are_refused(run_folder: Path) -> None:
    expected = "expected 32-true, bf16-mixed, 64-true"
    for precision in ("16-mixed", "bf16-true", "16-true"):
        with pytest.raises(InvalidInput, match=f"{precision}: {expected}"):
            check_precision(precision)
    with pytest.raises(InvalidInput, match=f"16-mixed: {expected}"):
        lit_lul(*FIT, "--trainer.precision=16-mixed")


def test_same_seed_same_numbers_also_when_a_finished_run_goes_on(last: Path) -> None:
    """Curves, a stop and a start change nothing in what is trained."""
    four_steps = losses(log_folder(Path()))
    lit_lul(*FIT, "--trainer.max_steps=6", "--ckpt_path=last")
    lit_lul(*FIT, "--trainer.max_steps=6")
    resumed, whole = (log_folder(Path(), run) for run in range(2))
    assert losses(resumed) == losses(whole)
    assert losses(whole)[:4] == four_steps
    same_theta(resumed, whole)
    lit_lul(*FIT, "--trainer.max_steps=1", "--seed_everything=1")
    assert losses(log_folder(Path(), 2))[0] != four_steps[0]


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_evaluation_of_a_checkpoint_and_of_theta_agree(
    run_folder: Path, finished: Finished, stage: str
) -> None:
    for name in ("last.ckpt", "theta.safetensors"):
        trained = str(finished.folder / "checkpoints" / name)
        lit_lul(stage, "--config", "tiny.yaml", "--ckpt_path", trained)
    from_checkpoint, from_theta = (metrics(log_folder(run_folder, v)) for v in range(2))
    assert without_step(from_checkpoint) == without_step(from_theta)
    prefix = {"validate": "val", "test": "test"}[stage]
    families = {
        name for row in from_theta for name in row if name.startswith(f"{prefix}/meta_loss/")
    }
    assert families
    assert families <= {f"{prefix}/meta_loss/{name}" for name in ("families", "glyphs-3")}
    after_fit = [row for row in metrics(finished.folder) if "digits/ridge_at_2" in row]
    measured = [row for row in from_theta if "digits/ridge_at_2" in row]
    assert measured[0]["digits/ridge_at_2"] == after_fit[-1]["digits/ridge_at_2"]


def without_step(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows without the outer step, which a file of θ does not know."""
    return [{k: v for k, v in row.items() if k not in {"step", "epoch"}} for row in rows]


@pytest.mark.slow
def test_killed_run_goes_on_exactly(run_folder: Path) -> None:
    often = "--checkpoint.every_n_outer_steps=3"
    endless = subprocess.Popen(
        [sys.executable, "-m", "lit_lul", *FIT, often, "--trainer.max_steps=100000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    killed, whole = (log_folder(run_folder, run) for run in range(2))
    wait_for_step(endless, killed, 4)
    endless.send_signal(signal.SIGKILL)
    endless.wait(60)
    reached = torch.load(killed / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert reached % 3 == 0
    options = [*FIT, often, f"--trainer.max_steps={reached + 2}"]
    lit_lul(*options, "--ckpt_path", "last")
    lit_lul(*options)
    assert metrics(killed) == metrics(whole)
    same_theta(killed, whole)


def test_run_goes_on_exactly_in_the_middle_of_an_outer_step(run_folder: Path) -> None:
    """Where `trainer.max_time` ends it, in the second of three rounds."""
    moving = ["--data.rounds.last=3", "--data.rounds.over=2", "--trainer.limit_val_batches=0"]
    options = [*FIT, *moving, "--checkpoint.every_n_outer_steps=1000"]
    step = MetaLightningModule.training_step

    def stopping(self: MetaLightningModule, batch: Any, batch_idx: int) -> None:
        step(self, batch, batch_idx)
        self.trainer.should_stop = batch_idx == 2 + 4 + 3 - 1

    with mock.patch.object(MetaLightningModule, "training_step", stopping):
        lit_lul(*options)
    stopped, whole, changed = (log_folder(run_folder, run) for run in range(3))
    checkpoint = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["global_step"], checkpoint["turn"]) == (2, 3)
    shutil.copytree(stopped, run_folder / "stopped")
    lit_lul(*options, "--ckpt_path=last")
    lit_lul(*options)
    assert metrics(stopped) == metrics(whole)
    same_theta(stopped, whole)
    assert truncations(stopped) == truncations(whole) == 2 + 4 + 6 + 6
    shutil.move(run_folder / "stopped", changed)
    lit_lul(*options, "--data.rounds.last=1", "--ckpt_path=last")
    assert losses(changed)[:2] == losses(whole)[:2]
    assert len(losses(changed)) == 4
    assert truncations(changed) == 4 * 2, "as if it had always been one round"


def truncations(folder: Path) -> int:
    """Lightning's count of truncations at the end of a run."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return int(progress["total"]["completed"])


def test_failed_resume_loses_no_log(last: Path) -> None:
    log = log_folder(Path()) / "metrics.csv"
    before = log.read_bytes()
    with pytest.raises(InvalidInput, match="tasks"):
        lit_lul(*FIT, "--ckpt_path=last", "--data.sizes.tasks=3")
    assert log.read_bytes() == before


def test_resume_saves_between_outer_steps_alone_and_keeps_means_of_theta(
    last: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[tuple[int, int]] = []
    save = MetaLightningModule.on_save_checkpoint

    def record(self: MetaLightningModule, checkpoint: dict[str, Any]) -> None:
        turns.append((self.trainer.global_step, self._turn))
        save(self, checkpoint)

    monkeypatch.setattr(MetaLightningModule, "on_save_checkpoint", record)
    keep = "--checkpoint.keep_every_n_outer_steps=3"
    lit_lul(*FIT, "--ckpt_path=last", "--trainer.max_steps=7", keep)
    assert turns == [(6, 0), (7, 0)]
    kept = sorted(path.name for path in last.parent.glob("mean_theta_*"))
    assert kept == ["mean_theta_000006.safetensors"]
    at_six, now, end = (
        flatten(load_learner(last.parent / name).parameters())
        for name in (kept[0], "mean_theta.safetensors", "theta.safetensors")
    )
    torch.testing.assert_close(now, at_six.lerp(end, 9 / 15))


def test_weights_of_the_mixture_may_change_on_resume(last: Path) -> None:
    resume = [*FIT, "--ckpt_path=last", "--trainer.max_steps=5"]
    for weight in ("0.5", "{first: 0.5, last: 0.2, over: 9}"):
        lit_lul(*resume, f"--data.sources.glyphs.weight={weight}")
    for changed in ("ways=[4]", "transforms=[{class_path: Permutation}]"):
        setting = f"--data.sources.glyphs.{changed}"
        with pytest.raises(InvalidInput, match=rf"data\.sources\.glyphs\.{changed[:4]}"):
            lit_lul(*resume, setting)


def test_two_runs_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "version_0").mkdir()
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim_version, [tmp_path] * 16))
    assert sorted(claimed) == list(range(1, 17))


def test_new_run_starts_from_another(run_folder: Path, finished: Finished) -> None:
    source = finished.folder / "checkpoints" / "last.ckpt"
    options = ["--start_from", str(source), "--data.sources.glyphs.ways=[4]", "--seed_everything=5"]
    lit_lul(*FIT, "--trainer.max_steps=1", "--model.optimizer.init_args.lr=0", *options)
    begun = log_folder(run_folder) / "checkpoints" / "last.ckpt"
    before, after = (torch.load(path, weights_only=True) for path in (source, begun))
    for name, tensor in before["state_dict"].items():
        if name.startswith("learner."):
            assert torch.equal(after["state_dict"][name], tensor), "θ, at a rate of zero"
    steps = [c["optimizer_states"][0]["state"][0]["step"].item() for c in (before, after)]
    assert steps == [4, 5]
    assert after["optimizer_states"][0]["param_groups"][0]["lr"] == 0
    assert after["global_step"] == 1
    with pytest.raises(InvalidInput, match="hidden_channels"):
        lit_lul(*FIT, "--model.learner.settings.hidden_channels=5", *options)
