"""What tests share: a cache of their own, and tiny runs of the command line."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lit_lul.cli import main

TINY: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {
        "accelerator": "cpu",
        "max_steps": 4,
        "log_every_n_steps": 1,
        "enable_model_summary": False,
        "logger": [
            {"class_path": "lit_lul.loggers.RunCSVLogger", "init_args": {"save_dir": "runs"}},
        ],
    },
    "model": {
        "rule": {
            "preset": "released",
            "hidden_channels": 4,
            "error_channels": 3,
            "top_channels": 4,
            "embedding_units": 6,
            "inner_rate": 0.03,
        },
        "objective": {"preset": "${model.rule.preset}"},
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.002}},
    },
    "data": {
        "glyphs": {"side": 8, "ways": [3]},
        "sizes": {"cohorts": 2, "tasks": 2, "batch_size": 6, "labels_per_class": 2, "draws": 2},
        "architectures": {"hidden_layers": [1, 2], "hidden_units": [4, 7]},
        "problem_length": {"first": 6, "last": 6, "over": 1, "spread": 0.5},
        "validation_cohorts": 1,
        "validation_steps": 2,
    },
    "held_out": {
        "digits": {
            "every_n_outer_steps": 2,
            "hidden_units": [5],
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
    """A cache folder for the whole session, so that glyphs are rendered once for each size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIT_LUL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `tiny.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    OmegaConf.save(OmegaConf.create(TINY), tmp_path / "tiny.yaml")
    monkeypatch.setattr(sys, "argv", ["lit_lul"])
    return tmp_path


def lit_lul(*args: str) -> None:
    """Run the command line in this process."""
    main(list(args))


def log_folder(run_folder: Path, version: int = 0) -> Path:
    """Where a run of `tiny.yaml` writes."""
    return run_folder / "runs" / "lightning_logs" / f"version_{version}"
