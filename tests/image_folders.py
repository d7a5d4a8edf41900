"""Small image datasets for tests, in the forms that `datasets.load_dataset` reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from PIL import Image

from lit_lul.data.image_datasets import ImageSource
from lit_lul.data.image_set import ImageSet

NAME = "someone/pictures"
NAMES = ["zebra", "ant", "mole", "none"]
LABELS = [1, 0, 2, 1, 0, 1]
"""Classes of the dataset's rows; row r's image is filled with the colour (10 r, 0, 0)."""


def dataset_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder with the dataset NAME; separate caches, no network, `tmp_path` current."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIT_LUL_DATA", raising=False)
    monkeypatch.setenv("LIT_LUL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    images = [Image.new("RGB", (6, 6), (10 * row, 0, 0)) for row in range(len(LABELS))]
    write(tmp_path / "root" / NAME, images, LABELS, ClassLabel(names=NAMES))
    return tmp_path / "root"


def write(
    folder: Path,
    images: Sequence[object],
    labels: Sequence[object],
    kind: object,
    split: str = "train",
    image_column: str = "img",
) -> None:
    """Write a split of a dataset folder: one parquet file of images and labels."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = Dataset.from_dict(
        {image_column: images, "label": labels},
        features=Features({image_column: datasets.Image(), "label": kind}),
    )
    rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def write_pictures(folder: Path, pictures: Mapping[str, Image.Image]) -> None:
    """Write a folder of image files."""
    for path, picture in pictures.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / path)


def source(
    dataset: str = NAME,
    split: str = "train",
    side: int = 2,
    leave_out: str | None = None,
    held_out: bool = False,
) -> ImageSource:
    """A source with the columns of `write`."""
    return ImageSource(dataset, split, "img", "label", side, False, leave_out, held_out)


def write_class_list(folder: Path, *names: str) -> str:
    """Write a file that lists classes; return its name."""
    (folder / "heldout.json").write_text(json.dumps({"heldout": names}))
    return "heldout.json"


def assert_same(images: ImageSet, expected: ImageSet) -> None:
    """Check that two image sets are equal."""
    assert images.class_names == expected.class_names
    assert torch.equal(images.class_start, expected.class_start)
    assert torch.equal(images.images, expected.images)
