"""`configs/small.yaml` with Tiny ImageNet in the form that it has on the hub."""

import json
from importlib.resources import files
from pathlib import Path

import datasets
import numpy as np
import pytest
from conftest import lit_lul
from datasets import ClassLabel
from image_folders import write
from PIL import Image
from test_configs import CONFIGS, SMALLER

PER_CLASS = 20
"""As many as the labelled batches of one task want."""
SMALL = [
    "--trainer.max_steps=2",
    "--held_out={}",
    "--data.sources.glyphs.weight=0",  # so that the tasks are of images alone
    "--data.validation_cohorts=1",
    *SMALLER,
]


def test_small_runs_on_images_from_the_hub(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 × 64 images of wnids in parquet files, no list of held-out classes beside them."""
    text = (files("lit_lul") / "data/heldout_classes/tiny-imagenet.json").read_text()
    held_out = json.loads(text)["heldout"]
    names = sorted([*held_out[:20], *(f"n{number:08d}" for number in range(24))])
    rng = np.random.default_rng(0)
    labels = np.arange(len(names)).repeat(PER_CLASS)
    pixels = rng.integers(256, size=(len(labels), 64, 64, 3), dtype=np.uint8)
    folder = run_folder / "root" / "zh-plus" / "tiny-imagenet"
    images, kind = [Image.fromarray(p) for p in pixels], ClassLabel(names=names)
    write(folder, images, labels.tolist(), kind, image_column="image")
    monkeypatch.setenv("LIT_LUL_DATA", str(run_folder / "root"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(run_folder / "datasets"))
    lit_lul("fit", "--config", str(CONFIGS / "small.yaml"), *SMALL)
    assert (run_folder / "runs/small/version_0/checkpoints/theta.safetensors").is_file()
    log = (run_folder / "runs/small/version_0/metrics.csv").read_text()
    assert "train/accuracy/imagenet-20" in log
    assert "val/accuracy/imagenet-20" in log
