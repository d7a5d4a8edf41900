"""Runs of the command line: what they write, and that an interrupted one loses nothing."""

import csv
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, lit_lul, log_folder, metrics, same_theta, wait_for_step
from lightning import Trainer
from omegaconf import OmegaConf
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_rule
from lit_lul.learners.update_rule import RuleSettings
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.settings import Architectures, CohortSettings
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.module import MetaLightningModule
from lit_lul.training.schedules import ProblemLength


def test_fit_leaves_everything_it_names(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lit_lul("fit", "--config", "tiny.yaml")
    folder = log_folder(run_folder)
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {
        "checkpoints/last.ckpt",
        "checkpoints/theta.safetensors",
        "config.yaml",
        "digits_curve.csv",
        "digits_curve.json",
        "digits_curve.png",
        "digits_embedding.png",
        "digits_receptive_fields.png",
        "metrics.csv",
    }
    printed = capsys.readouterr().out
    for name in ("theta.safetensors", "digits_curve.csv", "digits_curve.png", "before the rule"):
        assert name in printed
    rows = metrics(folder)
    steps = [int(row["step"]) for row in rows if "train/meta_loss" in row]
    assert steps == [1, 2, 3, 4]
    assert [int(row["step"]) for row in rows if "digits/ridge_at_2" in row] == [0, 2, 4]
    families = [name for row in rows for name in row if name.startswith("train/meta_loss/glyphs-3")]
    assert families
    with (folder / "digits_curve.csv").open() as file:
        curve = list(csv.DictReader(file))
    assert [row["outer_step"] for row in curve] == ["untrained"] * 6 + ["0"] * 6 + ["2"] * 6 + [
        "4"
    ] * 6
    assert all(0 <= float(row["accuracy"]) <= 1 for row in curve)
    rule = load_rule(folder / "checkpoints" / "theta.safetensors")
    assert rule.settings.hidden_channels == 4
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    for name, tensor in rule.state_dict().items():
        assert torch.equal(tensor, checkpoint["state_dict"][f"rule.{name}"])


def test_command_line_overrides_hold_in_interpolations(run_folder: Path) -> None:
    lit_lul("fit", "--config", "tiny.yaml", "--model.rule.preset=paper", "--trainer.max_steps=1")
    config = OmegaConf.load(log_folder(run_folder) / "config.yaml")
    assert OmegaConf.select(config, "model.objective.preset") == "paper"
    assert OmegaConf.select(config, "model.rule.embedding_units") == 6


def test_preset_of_the_command_line_reaches_every_setting(run_folder: Path) -> None:
    options = ["--model.rule.preset=paper", "--model.rule.growth=0.5", "--trainer.max_steps=1"]
    lit_lul("fit", "--config", "tiny.yaml", *options)
    settings = load_rule(log_folder(run_folder) / "checkpoints" / "theta.safetensors").settings
    sizes = TINY["model"]["rule"] | {"preset": "paper"}
    assert settings == RuleSettings(growth=0.5, **sizes).resolve()
    assert settings.update_norm == "matrix"


def test_compiled_run_with_bf16_hidden_states(run_folder: Path) -> None:
    options = ["--model.compile=true", "--trainer.precision=bf16-mixed"]
    lit_lul("fit", "--config", "tiny.yaml")
    lit_lul("fit", "--config", "tiny.yaml", *options)
    exact, quick = (
        [
            float(row["train/meta_loss"])
            for row in metrics(log_folder(run_folder, version))
            if "train/meta_loss" in row
        ]
        for version in range(2)
    )
    assert quick[0] == pytest.approx(exact[0], rel=0.02)
    assert quick[0] != exact[0]
    theta = load_rule(log_folder(run_folder, 1) / "checkpoints" / "theta.safetensors")
    assert {p.dtype for p in theta.parameters()} == {torch.float32}


def test_same_seed_same_numbers(run_folder: Path) -> None:
    for seed in (0, 0, 1):
        lit_lul("fit", "--config", "tiny.yaml", f"--seed_everything={seed}")
    first, second, other = (metrics(log_folder(run_folder, version)) for version in range(3))
    assert first == second
    assert first != other


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_evaluation_of_a_checkpoint_and_of_theta_agree(run_folder: Path, stage: str) -> None:
    lit_lul("fit", "--config", "tiny.yaml", "--held_out.digits.every_n_outer_steps=4")
    trained = log_folder(run_folder) / "checkpoints"
    for name in ("last.ckpt", "theta.safetensors"):
        lit_lul(stage, "--config", "tiny.yaml", "--ckpt_path", str(trained / name))
    from_checkpoint, from_theta = (metrics(log_folder(run_folder, v)) for v in (1, 2))
    assert without_step(from_checkpoint) == without_step(from_theta)
    prefix = {"validate": "val", "test": "test"}[stage]
    families = {
        name for row in from_theta for name in row if name.startswith(f"{prefix}/meta_loss/")
    }
    assert families
    assert families <= {
        f"{prefix}/meta_loss/{name}" for name in ("families", "glyphs-3", "glyphs-3-transformed")
    }
    after_fit = [row for row in metrics(log_folder(run_folder)) if "digits/ridge_at_2" in row]
    measured = [row for row in from_theta if "digits/ridge_at_2" in row]
    assert measured[0]["digits/ridge_at_2"] == after_fit[-1]["digits/ridge_at_2"]


def without_step(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows without the outer step, which a file of θ does not know."""
    return [{k: v for k, v in row.items() if k not in {"step", "epoch"}} for row in rows]


def test_killed_run_goes_on_exactly(run_folder: Path) -> None:
    command = [sys.executable, "-m", "lit_lul", "fit", "--config", "tiny.yaml"]
    long = ["--trainer.max_steps=12", "--checkpoint.every_n_outer_steps=3"]
    lit_lul("fit", "--config", "tiny.yaml", *long)
    endless = subprocess.Popen(
        [*command, *long, "--trainer.max_steps=100000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    killed = log_folder(run_folder, 1)
    wait_for_step(endless, killed, 4)
    endless.send_signal(signal.SIGKILL)
    endless.wait(60)
    reached = torch.load(killed / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert reached < 12, "the machine was too fast: the run was over before it was killed"
    lit_lul("fit", "--config", "tiny.yaml", *long, "--ckpt_path", "last")
    assert metrics(killed) == metrics(log_folder(run_folder))
    same_theta(killed, log_folder(run_folder))


def test_failed_resume_loses_no_log(run_folder: Path) -> None:
    lit_lul("fit", "--config", "tiny.yaml")
    before = (log_folder(run_folder) / "metrics.csv").read_bytes()
    with pytest.raises(InvalidInput, match="tasks"):
        lit_lul("fit", "--config", "tiny.yaml", "--ckpt_path=last", "--data.sizes.tasks=3")
    assert (log_folder(run_folder) / "metrics.csv").read_bytes() == before


def test_finished_run_goes_on_with_more_steps(run_folder: Path) -> None:
    lit_lul("fit", "--config", "tiny.yaml", "--trainer.max_steps=6")
    lit_lul("fit", "--config", "tiny.yaml", "--trainer.max_steps=4")
    lit_lul("fit", "--config", "tiny.yaml", "--trainer.max_steps=6", "--ckpt_path=last")
    same_theta(log_folder(run_folder, 0), log_folder(run_folder, 1))


class Recorder(MetaLightningModule):
    """Counts optimiser steps, and breaks the loss of chosen truncations."""

    def __init__(self, broken: set[int], **settings: Any) -> None:
        super().__init__(rule=RuleSettings(**SMALL), **settings)
        self.broken = broken
        self.seen: list[tuple[int, bool]] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Poison φ before a broken truncation."""
        if batch_idx in self.broken:
            self.cohorts[batch.cohort] = self._fresh_phi(batch).map(lambda p: p * torch.nan)
            batch.fresh = False
        self.seen.append((batch.cohort, batch.cohort in self.cohorts and not batch.fresh))
        super().training_step(batch, batch_idx)


SMALL: dict[str, Any] = {
    "hidden_channels": 4,
    "error_channels": 3,
    "top_channels": 4,
    "embedding_units": 4,
}


def fit(module: MetaLightningModule, cohorts: int, outer_steps: int) -> Trainer:
    """Train a few outer steps in this process."""
    data = TaskDataModule(
        embedding_units=4,
        glyphs=GlyphTasks(side=8, ways=[3], special=[]),
        sizes=CohortSettings(cohorts, tasks=2, batch_size=5, labels_per_class=2, draws=2),
        architectures=Architectures((1, 1), (4, 4)),
        problem_length=ProblemLength(100, 100, 1, 0),
    )
    trainer = Trainer(
        accelerator="cpu",
        max_steps=outer_steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, data)
    return trainer


def theta(module: MetaLightningModule) -> Tensor:
    """All of θ as one vector."""
    return torch.cat([p.detach().flatten() for p in module.rule.parameters()])


def test_new_run_starts_from_another(run_folder: Path) -> None:
    lit_lul("fit", "--config", "tiny.yaml", "--trainer.max_steps=2")
    source = log_folder(run_folder) / "checkpoints" / "last.ckpt"
    options = ["--start_from", str(source), "--data.glyphs.ways=[4]", "--seed_everything=5"]
    still = "--model.optimizer.init_args.lr=0"
    lit_lul("fit", "--config", "tiny.yaml", "--trainer.max_steps=1", still, *options)
    begun = log_folder(run_folder, 1) / "checkpoints" / "last.ckpt"
    before, after = (torch.load(path, weights_only=True) for path in (source, begun))
    for name, tensor in before["state_dict"].items():
        if name.startswith("rule."):
            assert torch.equal(after["state_dict"][name], tensor), "θ, at a rate of zero"
    steps = [c["optimizer_states"][0]["state"][0]["step"].item() for c in (before, after)]
    assert steps == [2, 3]
    assert after["optimizer_states"][0]["param_groups"][0]["lr"] == 0
    assert after["global_step"] == 1
    with pytest.raises(InvalidInput, match=r"rule\.error_readout"):
        lit_lul("fit", "--config", "tiny.yaml", "--model.rule.hidden_channels=5", *options)


def test_one_step_of_theta_per_meta_batch() -> None:
    module = Recorder(set())
    trainer = fit(module, cohorts=3, outer_steps=2)
    assert trainer.global_step == 2
    assert [cohort for cohort, _ in module.seen] == [0, 1, 2, 0, 1, 2]
    assert [kept for _, kept in module.seen] == [False] * 3 + [True] * 3


def test_non_finite_truncation_costs_its_cohort_alone() -> None:
    torch.manual_seed(0)
    broken = Recorder({1, 3, 4, 5})
    start = theta(broken).clone()
    trainer = fit(broken, cohorts=3, outer_steps=3)
    assert trainer.global_step == 3
    assert broken.restarts == 4
    assert set(broken.cohorts) == {0, 1, 2}
    assert theta(broken).isfinite().all()
    assert not torch.equal(theta(broken), start)


def test_gradient_is_the_mean_over_finite_cohorts_and_clipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    norms: list[float] = []
    clip = MetaLightningModule.clip_gradients

    def record(self: MetaLightningModule, optimizer: Any, *limit: Any) -> None:
        gradients = [p.grad.flatten() for p in self.rule.parameters() if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())
        clip(self, optimizer, *limit)
        gradients = [p.grad.flatten() for p in self.rule.parameters() if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())

    monkeypatch.setattr(MetaLightningModule, "clip_gradients", record)
    for broken in (set[int](), {1}):
        torch.manual_seed(0)
        fit(Recorder(broken, clip_norm=1e-4), cohorts=2, outer_steps=1)
    whole, clipped, half, _ = norms
    assert whole > 1e-4
    assert clipped == pytest.approx(1e-4, rel=1e-3)
    torch.manual_seed(0)
    fit(Recorder(set(), clip_norm=1e-4), cohorts=1, outer_steps=1)
    assert half == pytest.approx(norms[4], rel=1e-5)
    assert not math.isclose(half, whole, rel_tol=1e-3)
