"""A run that Weights & Biases logs, offline: settings, curves and pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from conftest import lit_lul, log_folder
from wandb_file import read_wandb_run

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


def logged(folder: Path) -> tuple[Any, dict[str, list[Any]]]:
    """Configuration and history of W&B's run."""
    (file,) = folder.glob("*.wandb")
    return read_wandb_run(file)


@pytest.mark.usefixtures("offline")
def test_settings_curves_and_pictures_reach_wandb(run_folder: Path) -> None:
    folder = fit(run_folder, "--trainer.max_steps=2")
    config, history = logged(folder)
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


@pytest.mark.usefixtures("offline")
def test_a_resumed_run_brings_its_settings(run_folder: Path) -> None:
    fit(run_folder, "--trainer.max_steps=2", "--held_out={}")
    again = fit(run_folder, "--trainer.max_steps=3", "--held_out={}", "--ckpt_path=last")
    config, history = logged(again)
    config.pop("_wandb", None)
    assert config["trainer"]["max_steps"] == 3
    assert config == saved_config(run_folder)
    assert history["trainer/global_step"][0] == 3
