"""The classes of an image dataset: by name, without a list of classes, or its own."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel
from image_folders import NAME, dataset_root, source, write, write_class_list, write_pictures
from PIL import Image

from lit_lul.data.image_datasets import ImageSource, load_images, read_class_list, shipped_lists
from lit_lul.errors import InvalidInput

WNIDS = ["n01443537", "n01774750", "n02056570", "n12267677"]
"""Four of Tiny ImageNet's classes; the second and the third are in the shipped list."""
TINY = "zh-plus/tiny-imagenet"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return dataset_root(tmp_path, monkeypatch)


@pytest.fixture
def folder(root: Path) -> Path:
    return root / NAME


def test_classes_are_selected(root: Path, folder: Path) -> None:
    every = load_images(source(), str(root))
    file = write_class_list(folder, "mole", "zebra")
    images = load_images(source(leave_out=file, held_out=True), str(root))
    assert images.class_names == ("zebra", "mole")
    assert images.class_start.tolist() == [0, 2, 3]
    assert torch.equal(images.images, every.images[[0, 1, 5]])


def test_held_out_classes_are_the_complement(root: Path, folder: Path) -> None:
    file = write_class_list(folder, "zebra", "mole", "none")
    training = load_images(source(leave_out=file), str(root))
    held_out = load_images(source(leave_out=file, held_out=True), str(root))
    assert training.class_names == ("ant",)
    assert training.images[:, 0, 0, 0].tolist() == [0, 30, 50]
    assert held_out.class_names == ("zebra", "mole")
    assert held_out.images[:, 0, 0, 0].tolist() == [10, 40, 20]


def test_leave_out_is_sought_in_the_dataset_first(root: Path, folder: Path) -> None:
    write_class_list(Path(), "ant")
    assert load_images(source(leave_out="heldout.json"), str(root)).class_names == ("zebra", "mole")
    write_class_list(folder, "mole")
    assert load_images(source(leave_out="heldout.json"), str(root)).class_names == ("zebra", "ant")
    path = str(Path("heldout.json").resolve())
    assert load_images(source(leave_out=path), str(root)).class_names == ("zebra", "mole")


def as_parquet(folder: Path, split: str, pictures: list[Image.Image]) -> None:
    labels = list(range(len(pictures)))
    write(folder, pictures, labels, ClassLabel(names=WNIDS), split, image_column="image")


def as_image_folder(folder: Path, split: str, pictures: list[Image.Image]) -> None:
    files = zip(WNIDS, pictures, strict=True)
    write_pictures(folder, {f"{split}/{name}/{name}_0.JPEG": picture for name, picture in files})


@pytest.mark.parametrize(
    ("write_split", "other_split"), [(as_parquet, "valid"), (as_image_folder, "test")]
)
def test_shipped_list_splits_tiny_imagenet_as_it_is_on_the_hub(
    root: Path, write_split: Callable[[Path, str, list[Image.Image]], None], other_split: str
) -> None:
    for split, first in (("train", 0), (other_split, 100)):
        pictures = [Image.new("RGB", (64, 64), (first + 20 * label,) * 3) for label in range(4)]
        write_split(root / TINY, split, [*pictures[:-1], pictures[-1].convert("L")])
        training = load_images(ImageSource(TINY, split, leave_out="tiny-imagenet"), str(root))
        assert training.class_names == ("n01443537", "n12267677")
        assert training.images.shape == (2, 3, 16, 16)
        assert training.images[:, 0, 0, 0].tolist() == [first, first + 60]
        held_out = ImageSource(TINY, split, leave_out="tiny-imagenet", held_out=True)
        images = load_images(held_out, str(root))
        assert images.class_names == ("n01774750", "n02056570")
        assert images.images[:, 0, 0, 0].tolist() == [first + 20, first + 40]


def test_shipped_list_of_tiny_imagenet_has_forty_wordnet_ids() -> None:
    assert shipped_lists() == ["tiny-imagenet"]
    names = read_class_list("tiny-imagenet", None)
    assert len(set(names)) == len(names) == 40
    assert all(re.fullmatch(r"n\d{8}", name) for name in names)


def test_shipped_list_needs_one_of_its_classes(root: Path) -> None:
    message = r"leave_out 'tiny-imagenet': .*pictures.* no class 'n01774750'.*'zebra'"
    with pytest.raises(InvalidInput, match=message):
        load_images(source(leave_out="tiny-imagenet"), str(root))


def test_shipped_list_comes_before_a_file_of_its_name(root: Path, folder: Path) -> None:
    (folder / write_class_list(folder, "ant")).rename(folder / "tiny-imagenet")
    with pytest.raises(InvalidInput, match="no class 'n01774750'"):
        load_images(source(leave_out="tiny-imagenet"), str(root))
    images = load_images(source(leave_out="./tiny-imagenet"), str(root))
    assert images.class_names == ("zebra", "mole")
