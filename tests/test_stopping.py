"""Runs that are stopped, by signals or by a full disk, and go on."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from conftest import lit_lul, log_folder, metrics, same_theta, wait_for_step
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lit_lul.errors import InvalidInput
from lit_lul.training.loggers import SHOWN
from lit_lul.training.module import MetaLightningModule
from lit_lul.training.preemption import stop_signal

OPTIONS = [
    *("fit", "--config", "tiny.yaml"),
    "--held_out={}",
    "--trainer.limit_val_batches=0",
    "--checkpoint.every_n_outer_steps=1000",
]
SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NAME": "meta",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NODELIST": "localhost",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}


def stop(number: signal.Signals, outer_step: int, environment: dict[str, str]) -> Any:
    """Run on in this process, with a signal during an outer step; the exit status."""
    step = MetaLightningModule.training_step

    def interrupted(self: MetaLightningModule, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step == outer_step - 1 and not stop_signal(self.trainer):
            signal.raise_signal(number)
        step(self, batch, batch_idx)

    with (
        mock.patch.object(MetaLightningModule, "training_step", interrupted),
        mock.patch.dict(os.environ, environment),
        pytest.raises(SystemExit) as raised,
    ):
        lit_lul(*OPTIONS, "--trainer.max_steps=100000", "--ckpt_path=last")
    return raised.value.code


def check_stopped(folder: Path, number: signal.Signals, errors: str) -> int:
    """Check what a stopped run leaves; the outer step that it reached."""
    assert errors.count(f"{number.name}: stopping") == 1
    assert "Traceback" not in errors
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert str(saved) == metrics(folder)[-1]["step"], "what was logged last was saved"
    return int(saved)


@pytest.mark.slow
def test_signals_save_and_stop(run_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stopped = log_folder(run_folder)
    run = subprocess.Popen(
        [sys.executable, "-m", "lit_lul", *OPTIONS, "--trainer.max_steps=100000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    wait_for_step(run, stopped, 2)
    run.send_signal(signal.SIGTERM)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGTERM
    reached = check_stopped(stopped, signal.SIGTERM, errors)
    for number, environment in ((signal.SIGINT, {}), (signal.SIGUSR1, SLURM)):
        reached += 2
        assert stop(number, reached, environment) == 128 + number
        assert check_stopped(stopped, number, capfd.readouterr().err) == reached
    assert not list(run_folder.rglob("hpc_ckpt*"))
    lit_lul(*OPTIONS, f"--trainer.max_steps={reached + 2}", "--ckpt_path=last")
    lit_lul(*OPTIONS, f"--trainer.max_steps={reached + 2}")
    assert metrics(stopped) == metrics(log_folder(run_folder, 1))
    same_theta(stopped, log_folder(run_folder, 1))


def test_slurm_script_is_sound(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "docs" / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    srun, scontrol = tmp_path / "srun", tmp_path / "scontrol"
    srun.write_text('#!/bin/bash\necho "$@" >> ran\nexit 138\n')
    scontrol.write_text('#!/bin/bash\necho "$@" >> ran\n')
    for stand_in in (srun, scontrol):
        stand_in.chmod(0o755)
    saved = tmp_path / "runs" / "job_17" / "version_0" / "checkpoints" / "last.ckpt"
    environment = os.environ | {"SLURM_JOB_ID": "17", "SLURM_NNODES": "2"}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    for expected in (False, True):
        done = subprocess.run(
            ["bash", script, "a.yaml"], cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == 138
        run, requeue = (tmp_path / "ran").read_text().splitlines()[-2:]
        assert run.startswith("python -m lit_lul fit --config a.yaml")
        assert run.endswith("--ckpt_path last") == expected
        assert requeue == "requeue 17"
        saved.parent.mkdir(parents=True, exist_ok=True)
        saved.touch()


@contextmanager
def full_beyond(size: int) -> Iterator[None]:
    """Let this process write no file beyond a size in bytes: to it, the disk is full there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_leaves_the_last_checkpoint(run_folder: Path) -> None:
    """As it was, byte for byte, so a run goes on as from any other."""
    lit_lul(*OPTIONS, "--trainer.max_steps=1")
    checkpoints = log_folder(run_folder) / "checkpoints"
    before = {path.name: path.read_bytes() for path in checkpoints.iterdir()}
    with full_beyond(len(before["last.ckpt"]) // 2), pytest.raises(InvalidInput) as raised:
        lit_lul(*OPTIONS, "--trainer.max_steps=2", "--ckpt_path=last")
    assert "last.ckpt: cannot be written" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert {path.name: path.read_bytes() for path in checkpoints.iterdir()} == before


def test_full_disk_names_the_log(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_: ExperimentWriter) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ExperimentWriter, "save", full_disk)
    with pytest.raises(InvalidInput, match=r"metrics\.csv: cannot be written .*No space"):
        lit_lul(*OPTIONS, "--trainer.max_steps=1")


def test_speed_memory_and_time_left_are_logged_and_shown(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, Any] = {}

    def look(module: MetaLightningModule) -> None:
        if module.trainer.progress_bar_callback is not None:
            bar = module.trainer.progress_bar_callback
            shown.update(bar.get_metrics(module.trainer, module))

    monkeypatch.setattr(MetaLightningModule, "on_train_end", look)
    lit_lul(*OPTIONS, "--trainer.max_steps=3")
    with (log_folder(run_folder) / "metrics.csv").open() as file:
        header = set(file.readline().strip().split(","))
    assert set(SHOWN) <= header
    assert {"inner steps/s", "GiB", "hours left"} <= set(shown)
    assert shown["inner steps/s"] > 0
    assert 0.05 < shown["GiB"] < 64
    assert shown["hours left"] == 0
