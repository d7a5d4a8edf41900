"""Every configuration that ships runs, with fewer and smaller steps."""

from pathlib import Path

import pytest
from conftest import lit_lul

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
SMALLER = [
    "--trainer.accelerator=cpu",
    "--trainer.max_steps=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.val_check_interval=1.0",
    "--data.sizes.cohorts=2",
    "--data.sizes.tasks=1",
    "--data.sizes.batch_size=8",
    "--data.sizes.draws=1",
    "--data.architectures.hidden_units=[8,9]",
    "--data.validation_cohorts=1",
    "--data.validation_steps=1",
    "--held_out.inner_steps=1",
    "--held_out.batch_size=8",
    "--held_out.draws=2",
]


@pytest.mark.parametrize("config", CONFIGS, ids=[path.name for path in CONFIGS])
def test_config_runs(config: Path, run_folder: Path) -> None:
    lit_lul("fit", "--config", str(config), *SMALLER)
    run = run_folder / "runs" / config.stem / "version_0"
    assert (run / "checkpoints" / "theta.safetensors").is_file()
    assert any(run.glob("events.out.tfevents.*"))


def test_wandb_offline(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (run_folder / "wandb.yaml").write_text(
        "trainer:\n  logger+:\n    - class_path: lightning.pytorch.loggers.WandbLogger\n"
        "      init_args: {project: lit_lul, save_dir: runs}\n"
    )
    lit_lul("fit", "--config", "tiny.yaml", "--config", "wandb.yaml", "--trainer.max_steps=2")
    assert list(run_folder.glob("runs/wandb/offline-run-*/*.wandb"))
    assert list(run_folder.glob("runs/wandb/offline-run-*/files/media/images/digits/curve*.png"))
