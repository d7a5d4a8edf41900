"""A run that Weights & Biases logs, offline: settings, curves, media, tables and rules."""

import base64
import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
import yaml
from conftest import lit_lul, log_folder
from wandb_file import WandbRun, read_wandb_run

from lit_lul.files.publish import read_card
from lit_lul.files.theta import PRETRAINED
from lit_lul.training.wandb_logger import RunWandbLogger

OVERLAY = Path(__file__).parents[1] / "configs" / "wandb.yaml"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()  # the environment is read once
    yield
    wandb.finish()
    wandb.teardown()


def fit(run_folder: Path, *options: str) -> Path:
    """Run the tiny configuration with W&B's logger; the folder that W&B has written since."""
    before = set(run_folder.glob("runs/wandb/offline-run-*"))
    lit_lul("fit", "--config", "tiny.yaml", "--config", str(OVERLAY), *options)
    wandb.finish()
    wandb.teardown()  # the file is whole once W&B's own process has ended
    (folder,) = set(run_folder.glob("runs/wandb/offline-run-*")) - before
    return folder


def saved_config(run_folder: Path) -> Any:
    """What `config.yaml` of the run holds."""
    return yaml.safe_load((log_folder(run_folder) / "config.yaml").read_text())


def logged(folder: Path) -> WandbRun:
    """W&B's run."""
    (file,) = folder.glob("*.wandb")
    return read_wandb_run(file)


def digests(theta: Path) -> dict[str, str]:
    """What W&B's artifact of θ and its card says of their content."""
    files = {"theta.safetensors": theta, "README.md": theta.with_suffix(".md")}
    md5 = {name: hashlib.md5(file.read_bytes()).digest() for name, file in files.items()}
    return {name: base64.b64encode(digest).decode() for name, digest in md5.items()}


@pytest.mark.usefixtures("offline")
def test_settings_curves_and_pictures_reach_wandb(run_folder: Path) -> None:
    folder = fit(run_folder, "--trainer.max_steps=2")
    run = logged(folder)
    config, history = run.config, run.history
    assert config["model"]["learner"]["init_args"]["settings"]["embedding_units"] == 6
    assert config["model"]["objective"]["class_path"].endswith("FewShotRidge")
    config.pop("_wandb", None)
    assert config == saved_config(run_folder)
    assert history["trainer/global_step"][0] == 0 and history["trainer/global_step"][-1] == 2
    for name in ("digits/ridge_at_0", "digits/ridge_at_2", "digits/logistic_at_2"):
        assert len(history[name]) == 2, "at the start and at the end"
    assert len(history["train/meta_loss"]) == 2 and len(history["val/accuracy"]) == 1
    for picture in ("curve", "embedding", "receptive_fields"):
        assert history[f"digits/{picture}._type"] == ["images/separated"] * 2
        for names in history[f"digits/{picture}.filenames"]:
            assert all((folder / "files" / name).is_file() for name in names)

    curve, embedding = (
        json.loads((folder / "files" / history[f"digits/{name}_table.path"][-1]).read_text())
        for name in ("curve", "embedding")
    )
    with (log_folder(run_folder) / "digits_curve.csv").open(newline="") as file:
        columns, *rows = csv.reader(file)
    assert curve["columns"] == columns
    assert [list(map(str, row)) for row in curve["data"]] == rows
    assert embedding["columns"] == ["class", "u0", "u1", "u2", "u3", "u4", "u5"]
    assert {row[0] for row in embedding["data"]} == set("0123456789")

    (rule,) = run.rules
    theta = log_folder(run_folder) / "checkpoints" / "theta.safetensors"
    assert (rule.name, rule.type, rule.used) == (f"rule-{run.id}", "model", False)
    assert rule.files == digests(theta)
    card = read_card(theta.with_suffix(".md"))
    assert "2 outer steps, from newly initialised θ" in card and "Held-out digits" in card


@pytest.mark.usefixtures("offline")
def test_a_resumed_run_is_the_same_run_and_a_new_one_knows_its_rule(run_folder: Path) -> None:
    theta = log_folder(run_folder) / "checkpoints" / "theta.safetensors"
    first = logged(fit(run_folder, "--trainer.max_steps=2", "--held_out={}"))
    options = ["--trainer.max_steps=3", "--held_out={}", "--ckpt_path=last"]
    again = logged(fit(run_folder, *options))
    assert again.id == first.id
    (rule,) = again.rules
    assert (rule.name, rule.used, rule.files) == (f"rule-{first.id}", False, digests(theta))
    again.config.pop("_wandb", None)
    assert again.config["trainer"]["max_steps"] == 3
    assert again.config == saved_config(run_folder)
    assert again.history["trainer/global_step"][0] == 3
    card = theta.with_suffix(".md").read_text()
    assert "3 outer steps, from newly initialised θ" in card and "None were measured" in card

    start = theta.with_name("last.ckpt")
    options = ["--trainer.max_steps=1", "--held_out={}", f"--start_from={start}"]
    new = logged(fit(run_folder, *options))
    assert new.id != first.id
    used, made = new.rules
    assert used == rule._replace(used=True), "the same name and content, so the same artifact"
    assert (made.name, made.used) == (f"rule-{new.id}", False)
    folder = log_folder(run_folder, 1) / "checkpoints"
    assert f"1 outer steps, from {start}" in (folder / "theta.md").read_text()
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["callbacks"]["RuleCard"] == {"source": str(start)}


@pytest.mark.usefixtures("offline")
def test_a_rule_of_no_run_is_named_after_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = RunWandbLogger(project="lit_lul", save_dir=tmp_path)
    logger.use_rule("small")
    moved = tmp_path / "moved" / "last.ckpt"  # without θ beside it
    moved.parent.mkdir()
    moved.write_bytes(b"a checkpoint")
    logger.use_rule(moved)
    folder = tmp_path / "lab" / "own rule@v1"
    folder.mkdir(parents=True)
    shutil.copy(PRETRAINED / "small.safetensors", folder / "theta.safetensors")
    monkeypatch.chdir(tmp_path)
    logger.use_rule("lab/own rule@v1")
    folder = Path(logger.experiment.dir).parent
    wandb.finish()
    wandb.teardown()
    small, last, lab = logged(folder).rules
    assert (small.name, small.used) == ("rule-small", True)
    assert small.files == digests(PRETRAINED / "small.safetensors")
    assert (last.name, [*last.files], last.used) == ("rule-last", ["last.ckpt"], True)
    assert lab.name == "rule-lab-own-rule-v1"
    assert lab.files == {"theta.safetensors": small.files["theta.safetensors"]}


@pytest.mark.usefixtures("offline")
def test_a_disabled_run_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = RunWandbLogger(project="lit_lul", save_dir=tmp_path)
    logger.run_folder = tmp_path
    logger.use_rule("small")
    logger.log_rule(tmp_path / "theta.safetensors", tmp_path / "theta.md", {})
    assert list(tmp_path.iterdir()) == []


def test_wandb_is_imported_only_by_its_logger() -> None:
    check = "import sys, lit_lul.cli; sys.exit('wandb' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
