"""The cache of decoded images: what it serves, and what makes it read the dataset again."""

import sys
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel
from image_folders import NAME, NAMES, assert_same, dataset_root, source, write, write_class_list
from PIL import Image

from lit_lul.data.image_datasets import load_images
from lit_lul.errors import InvalidInput


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return dataset_root(tmp_path, monkeypatch)


@pytest.fixture
def folder(root: Path) -> Path:
    return root / NAME


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(datasets, "load_dataset", fail)


def cached_file() -> Path:
    (file,) = Path("cache").glob("*.safetensors")
    return file


def test_one_cached_file_serves_all_choices(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_class_list(folder, "ant")
    first = load_images(source(), str(root))
    forbid_reading(monkeypatch)
    assert_same(load_images(source(), str(root)), first)
    load_images(source(leave_out=file), str(root))
    load_images(source(leave_out=file, held_out=True), str(root))
    assert cached_file().name.startswith("images-pictures-")
    root.rename("moved")
    assert_same(load_images(source(), "moved"), first)
    with pytest.raises(InvalidInput, match="read again"):
        load_images(source(side=3), "moved")


def test_cached_images_need_no_datasets_library(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_images(source(), str(root))
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert_same(load_images(source(), str(root)), first)
    with pytest.raises(InvalidInput, match=r"pictures.*pip install 'lit-lul\[data\]'"):
        load_images(source(side=3), str(root))


def test_changed_files_are_read_again(root: Path, folder: Path) -> None:
    assert load_images(source(), str(root)).n_classes == 3
    write(folder, [Image.new("L", (2, 2))], [3], ClassLabel(names=NAMES))
    assert load_images(source(), str(root)).class_names == ("none",)


def test_hidden_files_do_not_count(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_images(source(), str(root))
    (folder / ".git").mkdir()
    (folder / ".git" / "index").touch()
    forbid_reading(monkeypatch)
    load_images(source(), str(root))


def test_cut_cache_file_is_rebuilt(root: Path) -> None:
    first = load_images(source(), str(root))
    cached = cached_file()
    cached.write_bytes(cached.read_bytes()[:-1])
    assert_same(load_images(source(), str(root)), first)
