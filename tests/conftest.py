"""What tests share: a cache of their own, one thread, and tiny runs of the command line."""

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from lit_lul.cli import LitLulCLI, main
from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_learner

torch.set_num_threads(1)  # two workers share the machine

MACHINE = {"train/inner_steps_per_second", "train/memory_gib", "train/hours_left"}
"""Metrics that differ between runs of the same numbers."""

TINY: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {
        "accelerator": "cpu",
        "max_steps": 4,
        "log_every_n_steps": 1,
        "enable_model_summary": False,
        "logger": [
            {
                "class_path": "lit_lul.training.loggers.RunCSVLogger",
                "init_args": {"save_dir": "runs"},
            },
        ],
    },
    "model": {
        "learner": {
            "class_path": "UnsupervisedUpdate",
            "init_args": {
                "settings": {
                    "hidden_channels": 4,
                    "error_channels": 3,
                    "top_channels": 4,
                    "embedding_units": 6,
                    "inner_rate": 0.03,
                },
            },
        },
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.002}},
    },
    "data": {
        "sources": {
            "glyphs": {
                "class_path": "GlyphTasks",
                "init_args": {
                    "side": 8,
                    "ways": [3],
                    "transforms": [
                        {"class_path": "Placement", "init_args": {"max_shift": 1.0}},
                        {"class_path": "TaskMask"},
                        {"class_path": "ExampleMask"},
                        {"class_path": "Permutation"},
                    ],
                },
            },
        },
        "sizes": {"cohorts": 2, "tasks": 2, "batch_size": 6, "labels_per_class": 2, "draws": 2},
        "networks": {
            "class_path": "MLPs",
            "init_args": {"hidden_layers": [1, 2], "hidden_units": [4, 7]},
        },
        "problem_length": {"first": 6, "last": 6, "over": 1, "spread": 0.5},
        "validation_cohorts": 1,
        "validation_steps": 2,
    },
    "held_out": {
        "digits": {
            "every_n_outer_steps": 2,
            "networks": {
                "class_path": "MLPs",
                "init_args": {"hidden_layers": [1, 1], "hidden_units": [5, 5]},
            },
            "inner_steps": 2,
            "points": 2,
            "batch_size": 6,
            "probes": ["ridge", "logistic"],
            "draws": 2,
        },
    },
    "checkpoint": {"every_n_outer_steps": 2},
}
"""A run of a few seconds."""


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder that all workers share, so that glyphs are rendered once for each size."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIT_LUL_CACHE", str(shared / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `tiny.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    OmegaConf.save(OmegaConf.create(TINY), tmp_path / "tiny.yaml")
    monkeypatch.setattr(sys, "argv", ["lit_lul"])
    return tmp_path


class Finished(NamedTuple):
    """A run of `tiny.yaml`."""

    folder: Path
    printed: str


@pytest.fixture(scope="session")
def finished(cache: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run for all tests that read one."""
    home = tmp_path_factory.mktemp("finished")
    OmegaConf.save(OmegaConf.create(TINY), home / "tiny.yaml")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        patch.chdir(home)
        patch.setattr(sys, "argv", ["lit_lul"])
        lit_lul("fit", "--config", "tiny.yaml")
    return Finished(log_folder(home), printed.getvalue())


@pytest.fixture
def last(run_folder: Path, finished: Finished) -> Path:
    """The checkpoint of a copy of the finished run, the first run in the working directory."""
    shutil.copytree(finished.folder, log_folder(run_folder))
    return log_folder(run_folder) / "checkpoints" / "last.ckpt"


class Ready(Exception):
    """A command line whose run would start now."""

    def __init__(self, cli: LitLulCLI) -> None:
        self.cli = cli


@pytest.fixture
def until_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line does everything but the run, and raises `Ready`."""

    def stop(cli: LitLulCLI) -> None:
        raise Ready(cli)

    monkeypatch.setattr(LitLulCLI, "before_fit", stop, raising=False)


def ready(*args: str) -> Any:
    """The configuration of the run that a command line would start, under `until_ready`."""
    with pytest.raises(Ready) as raised:
        lit_lul("fit", *args)
    return raised.value.cli.config["fit"]


@contextmanager
def refused(message: str) -> Iterator[None]:
    """Check that something is invalid, and that what is said of it is one line that matches."""
    with pytest.raises(InvalidInput, match=message) as raised:
        yield
    assert "\n" not in str(raised.value)


def without_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no request go to the hub; its client reads the environment only when it is imported."""
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def lit_lul(*args: str) -> None:
    """Run the command line in this process."""
    main(list(args))


def log_folder(run_folder: Path, version: int = 0) -> Path:
    """Where a run of `tiny.yaml` writes."""
    return run_folder / "runs" / "default" / f"version_{version}"


def metrics(folder: Path) -> list[dict[str, str]]:
    """Rows of a run's CSV log, without what the machine makes of it and without empty cells."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [
            {k: v for k, v in row.items() if v and k not in MACHINE} for row in csv.DictReader(file)
        ]


def wait_for_step(
    run: "subprocess.Popen[Any] | BaseProcess", folder: Path, outer_step: int
) -> None:
    """Wait until a run has logged that it trained so far or further."""
    for _ in range(1200):
        time.sleep(0.05)
        rows = metrics(folder) if (folder / "metrics.csv").is_file() else []
        if any(int(row["step"]) >= outer_step for row in rows if "train/meta_loss" in row):
            return
        ended = run.exitcode if isinstance(run, BaseProcess) else run.poll()
        assert ended is None, f"the run has ended with {ended}"
    raise AssertionError(f"no outer step {outer_step} within a minute")


def losses(folder: Path) -> list[str]:
    """Meta-losses of a run's outer steps, as they are logged."""
    return [row["train/meta_loss"] for row in metrics(folder) if "train/meta_loss" in row]


def end_of(folder: Path) -> dict[str, Tensor]:
    """θ at the end of a run, by name."""
    return load_learner(folder / "checkpoints" / "theta.safetensors").state_dict()


def same_theta(one: Path, other: Path) -> None:
    """Check that runs ended with the same θ, bit for bit."""
    first, second = end_of(one), end_of(other)
    assert all(torch.equal(first[name], second[name]) for name in first)
