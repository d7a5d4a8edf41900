"""Images from folders and the hub: what is decoded, which classes are kept, the cache, errors."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image
from real_data import real_data

from lit_lul.data.image_datasets import ImageSource, load_images
from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput

NAME = "someone/pictures"
NAMES = ["zebra", "ant", "mole", "none"]
LABELS = [1, 0, 2, 1, 0, 1]
"""Classes of the parquet dataset's rows; row r's images are filled with the colour (10 r, 0, 0)."""
REAL_ROOT = os.environ.get("LIT_LUL_DATA")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one parquet dataset, with caches of its own and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIT_LUL_DATA", raising=False)
    monkeypatch.setenv("LIT_LUL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    images = [Image.new("RGB", (6, 6), (10 * row, 0, 0)) for row in range(len(LABELS))]
    write(tmp_path / "root" / NAME, images, LABELS, ClassLabel(names=NAMES))
    return tmp_path / "root"


@pytest.fixture
def folder(root: Path) -> Path:
    return root / NAME


def write(folder: Path, images: Sequence[object], labels: Sequence[object], kind: object) -> None:
    """Write a dataset folder with one parquet file, columns `img` and `label`."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = Dataset.from_dict(
        {"img": images, "label": labels},
        features=Features({"img": datasets.Image(), "label": kind}),
    )
    rows.to_parquet(folder / "data" / "train-00000-of-00001.parquet")


def write_pictures(folder: Path, pictures: Mapping[str, Image.Image]) -> None:
    """Write a folder of image files."""
    for path, picture in pictures.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / path)


def source(
    dataset: str = NAME,
    split: str = "train",
    side: int = 2,
    classes: list[str] | None = None,
    leave_out: str | None = None,
    held_out: bool = False,
) -> ImageSource:
    return ImageSource(dataset, split, "img", "label", side, False, classes, leave_out, held_out)


def leave_out(folder: Path, *names: str) -> str:
    (folder / "heldout.json").write_text(json.dumps({"heldout": names}))
    return "heldout.json"


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(datasets, "load_dataset", fail)


def assert_same(images: ImageSet, expected: ImageSet) -> None:
    assert images.class_names == expected.class_names
    assert torch.equal(images.class_start, expected.class_start)
    assert torch.equal(images.images, expected.images)


def one(picture: Image.Image, side: int, grey: bool = False) -> torch.Tensor:
    """Return what becomes of a single picture: uint8, (channels, side, side)."""
    folder = f"{picture.mode} {grey}"
    write_pictures(Path(folder), {"a/0.png": picture, "b/0.png": picture})
    images = load_images(ImageSource(folder, side=side, grey=grey)).images
    assert torch.equal(images[0], images[1])
    return images[0]


def test_rows_are_sorted_by_class_in_the_order_of_the_names(root: Path) -> None:
    images = load_images(source(), str(root))
    assert images.images.shape == (6, 3, 2, 2)
    assert images.images.dtype == torch.uint8
    assert images.class_names == ("zebra", "ant", "mole")
    assert images.class_start.tolist() == [0, 2, 5, 6]
    assert images.class_start.dtype == torch.int64
    assert images.images[:, 0, 0, 0].tolist() == [10, 40, 0, 30, 50, 20]
    assert images.images[:, 1:].unique().tolist() == [0]


@pytest.mark.parametrize(
    ("labels", "dtype", "names", "reds"),
    [
        ([10, 9, -1, 10, 9, 10], "int64", ("-1", "9", "10"), [20, 10, 40, 0, 30, 50]),
        (["b", "a", "c", "a", "b", "a"], "string", ("a", "b", "c"), [10, 30, 50, 0, 40, 20]),
    ],
)
def test_plain_labels_are_sorted(
    root: Path, labels: list[object], dtype: str, names: tuple[str, ...], reds: list[int]
) -> None:
    pictures = [Image.new("RGB", (2, 2), (10 * row, 0, 0)) for row in range(6)]
    write(root / "plain", pictures, labels, Value(dtype))
    images = load_images(source("plain"), str(root))
    assert images.class_names == names
    assert images.images[:, 0, 0, 0].tolist() == reds


def test_image_folder_with_splits() -> None:
    pictures = {
        f"{split}/{name}/{index}.png": Image.new("L", (4, 4), value + index)
        for split, start in (("train", 0), ("test", 100))
        for name, value in (("b", start + 10), ("a", start + 20))
        for index in range(2)
    }
    write_pictures(Path("pictures"), pictures)
    for split, expected in (("train", [20, 21, 10, 11]), ("test", [120, 121, 110, 111])):
        images = load_images(ImageSource("pictures", split, side=3, grey=True))
        assert images.class_names == ("a", "b")
        assert images.images.shape == (4, 1, 3, 3)
        assert images.images[:, 0, 1, 1].tolist() == expected


def test_resizing_averages_areas() -> None:
    pixels = np.arange(0, 96, 2, dtype=np.uint8).reshape(4, 4, 3)
    expected = torch.from_numpy(pixels.reshape(2, 2, 2, 2, 3).mean((1, 3))).permute(2, 0, 1)
    assert torch.equal(one(Image.fromarray(pixels), 2), expected.to(torch.uint8))


@pytest.mark.parametrize("wide", [True, False])
def test_centre_square_is_cut_out(wide: bool) -> None:
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, 2:6] = [10, 20, 30, 40]
    image = one(Image.fromarray(pixels if wide else pixels.T), 4, grey=True)[0]
    assert (image if wide else image.T).tolist() == [[10, 20, 30, 40]] * 4


def test_grey_is_luma_and_one_channel() -> None:
    colour = Image.new("RGB", (2, 2), (100, 200, 50))
    assert one(colour, 1).ravel().tolist() == [100, 200, 50]
    assert one(colour, 1, grey=True).ravel().tolist() == [153]
    assert one(Image.new("L", (2, 2), 77), 1).ravel().tolist() == [77, 77, 77]


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.new("RGBA", (2, 2), (9, 8, 7, 0)), [9, 8, 7]),
        (Image.new("LA", (2, 2), (9, 100)), [9, 9, 9]),
        (Image.new("RGB", (2, 2), (255, 0, 0)).convert("P"), [255, 0, 0]),
        (Image.new("1", (2, 2), 1), [255, 255, 255]),
        (Image.fromarray(np.full((2, 2), 0x7F80, np.uint16)), [127, 127, 127]),
    ],
    ids=["RGBA", "LA", "P", "1", "I;16"],
)
def test_modes(picture: Image.Image, expected: list[int]) -> None:
    assert one(picture, 1).ravel().tolist() == expected


def test_classes_are_selected(root: Path) -> None:
    every = load_images(source(), str(root))
    images = load_images(source(classes=["mole", "zebra"]), str(root))
    assert images.class_names == ("zebra", "mole")
    assert images.class_start.tolist() == [0, 2, 3]
    assert torch.equal(images.images, every.images[[0, 1, 5]])


def test_held_out_classes_are_the_complement(root: Path, folder: Path) -> None:
    file = leave_out(folder, "zebra", "mole", "none")
    training = load_images(source(leave_out=file), str(root))
    held_out = load_images(source(leave_out=file, held_out=True), str(root))
    assert training.class_names == ("ant",)
    assert training.images[:, 0, 0, 0].tolist() == [0, 30, 50]
    assert held_out.class_names == ("zebra", "mole")
    assert held_out.images[:, 0, 0, 0].tolist() == [10, 40, 20]
    images = load_images(source(classes=["ant", "mole"], leave_out=file), str(root))
    assert images.class_names == ("ant",)


def test_leave_out_is_sought_in_the_dataset_first(root: Path, folder: Path) -> None:
    leave_out(Path(), "ant")
    assert load_images(source(leave_out="heldout.json"), str(root)).class_names == ("zebra", "mole")
    leave_out(folder, "mole")
    assert load_images(source(leave_out="heldout.json"), str(root)).class_names == ("zebra", "ant")
    path = str(Path("heldout.json").resolve())
    assert load_images(source(leave_out=path), str(root)).class_names == ("zebra", "mole")


def test_roots(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_images(source(), str(root))
    assert_same(load_images(source(str(root / NAME))), expected)
    monkeypatch.setenv("LIT_LUL_DATA", str(root))
    assert_same(load_images(source()), expected)
    write(Path(NAME), [Image.new("L", (2, 2))], [3], ClassLabel(names=NAMES))
    assert_same(load_images(source()), expected)
    monkeypatch.setenv("LIT_LUL_DATA", "nowhere")
    assert load_images(source()).class_names == ("none",)
    assert_same(load_images(source(), str(root)), expected)


def test_one_cached_file_serves_all_choices(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = leave_out(folder, "ant")
    first = load_images(source(), str(root))
    forbid_reading(monkeypatch)
    assert_same(load_images(source(), str(root)), first)
    load_images(source(classes=["mole"]), str(root))
    load_images(source(leave_out=file, held_out=True), str(root))
    (cached,) = Path("cache").iterdir()
    assert cached.name.startswith("images-pictures-")
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
    (cached,) = Path("cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    assert_same(load_images(source(), str(root)), first)


def hub_dataset(folder: Path) -> ImageSource:
    return source("someone/else")


def no_such_split(folder: Path) -> ImageSource:
    return source(split="testing")


def no_image_column(folder: Path) -> ImageSource:
    return ImageSource(NAME)


def no_label_column(folder: Path) -> ImageSource:
    return ImageSource(NAME, image_column="img", label_column="fine_label")


def no_image_in_column(folder: Path) -> ImageSource:
    return ImageSource(NAME, image_column="label")


def text_dataset(folder: Path) -> ImageSource:
    Path("texts").mkdir()
    Path("texts/train.txt").write_text("one\ntwo\n")
    return ImageSource("texts", image_column="text", label_column="text")


def no_such_class(folder: Path) -> ImageSource:
    return source(classes=["ant", "bee"])


def class_without_images(folder: Path) -> ImageSource:
    return source(classes=["none"])


def no_class(folder: Path) -> ImageSource:
    return source(classes=[])


def all_classes_held_out(folder: Path) -> ImageSource:
    return source(leave_out=leave_out(folder, *NAMES))


def unknown_held_out_class(folder: Path) -> ImageSource:
    return source(leave_out=leave_out(folder, "ant", "bee"))


def no_leave_out_file(folder: Path) -> ImageSource:
    return source(leave_out="no.json")


def leave_out_is_no_json(folder: Path) -> ImageSource:
    (folder / "bad.json").write_text("ant")
    return source(leave_out="bad.json")


def leave_out_is_a_list(folder: Path) -> ImageSource:
    (folder / "bad.json").write_text('["ant"]')
    return source(leave_out="bad.json")


def leave_out_names_numbers(folder: Path) -> ImageSource:
    (folder / "bad.json").write_text('{"heldout": [1]}')
    return source(leave_out="bad.json")


def corrupt_image(folder: Path) -> ImageSource:
    write_pictures(Path("p"), {f"{i}/0.png": Image.new("L", (2, 2)) for i in range(3)})
    Path("p/1/0.png").write_bytes(b"no picture")
    return ImageSource("p")


def no_image_in_row(folder: Path) -> ImageSource:
    write(folder, [Image.new("L", (2, 2)), None], [0, 1], ClassLabel(names=NAMES))
    return source()


def one_class_folder(folder: Path) -> ImageSource:
    write_pictures(Path("p"), {"a/0.png": Image.new("L", (2, 2))})
    return ImageSource("p")


def float_image(folder: Path) -> ImageSource:
    write_pictures(Path("p"), {f"{i}/0.tiff": Image.new("F", (2, 2), 0.5) for i in range(2)})
    return ImageSource("p")


def unlabelled_row(folder: Path) -> ImageSource:
    write(folder, [Image.new("L", (2, 2))] * 2, [0, -1], ClassLabel(names=NAMES))
    return source()


def fractional_label(folder: Path) -> ImageSource:
    write(folder, [Image.new("L", (2, 2))], [0.5], Value("float32"))
    return source()


def unreadable_parquet(folder: Path) -> ImageSource:
    (folder / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 and then nothing")
    return source()


def empty_folder(folder: Path) -> ImageSource:
    Path("empty").mkdir()
    return ImageSource("empty")


def no_rows(folder: Path) -> ImageSource:
    write(folder, [], [], ClassLabel(names=NAMES))
    return source()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            hub_dataset,
            r"'someone/else'.* hub .*root/someone/else or .* below \$LIT_LUL_DATA.*reach",
        ),
        (no_such_split, r"pictures', split 'testing'.*'train'"),
        (no_image_column, r"pictures', split 'train': no column 'image', only \['img', 'label'\]"),
        (no_label_column, r"no column 'fine_label', only \['img', 'label'\]"),
        (no_image_in_column, r"expected images in 'label', found ClassLabel"),
        (text_dataset, r"'texts'.*expected images in 'text', found Value"),
        (no_such_class, r"classes: no class 'bee'.*pictures.*\['zebra', 'ant', 'mole'\]"),
        (class_without_images, r"classes: no class 'none'"),
        (no_class, r"pictures.*no class with images is left"),
        (all_classes_held_out, r"no class with images is left"),
        (unknown_held_out_class, r"leave_out: no class 'bee'.*pictures"),
        (no_leave_out_file, r"leave_out no.json: expected a JSON file \(.*No such file"),
        (leave_out_is_no_json, r"leave_out .*pictures/bad.json: expected a JSON file"),
        (leave_out_is_a_list, r'bad.json: expected \{"heldout": \[names of classes\]\}'),
        (leave_out_names_numbers, r'bad.json: expected \{"heldout": \[names of classes\]\}'),
        (corrupt_image, r"dataset 'p', split 'train', row 1: no image \(cannot identify"),
        (no_image_in_row, r"row 1: no image"),
        (one_class_folder, r"dataset 'p', split 'train': no column 'label', only \['image'\]"),
        (float_image, r"row 0: no image \(its mode F does not tell"),
        (unlabelled_row, r"pictures', split 'train', row 1: expected a class, found -1"),
        (fractional_label, r"row 0: expected a class, found 0.5"),
        (unreadable_parquet, r"pictures', split 'train', from .*pictures: .*[Pp]arquet"),
        (empty_folder, r"dataset 'empty'.*doesn't contain any data files"),
        (no_rows, r"pictures"),
    ],
)
def test_errors_are_one_line_that_names_the_culprit(
    root: Path, folder: Path, bad: Callable[[Path], ImageSource], message: str
) -> None:
    asked = bad(folder)
    with pytest.raises(InvalidInput, match=message) as caught:
        load_images(asked, str(root))
    assert "\n" not in str(caught.value)


def test_source_checks_its_settings() -> None:
    with pytest.raises(InvalidInput, match="side 0: expected one or more"):
        ImageSource(NAME, side=0)
    with pytest.raises(InvalidInput, match="held_out: expected leave_out"):
        ImageSource(NAME, held_out=True)


@real_data
def test_cifar10() -> None:
    asked = ImageSource("uoft-cs/cifar10", image_column="img")
    images = load_images(asked, REAL_ROOT)
    assert images.images.shape == (20_000, 3, 16, 16)
    assert images.class_names[0] == "airplane" and images.n_classes == 10
    assert 1_900 < images.class_sizes.min() <= images.class_sizes.max() < 2_100
    mean = images.images.float().mean((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx([0.491, 0.482, 0.447], abs=0.01)


@real_data
def test_mnist() -> None:
    images = load_images(ImageSource("ylecun/mnist", "test", side=14, grey=True), REAL_ROOT)
    assert images.images.shape == (10_000, 1, 14, 14)
    assert images.class_names == tuple("0123456789")
    assert images.class_sizes.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@real_data
def test_tiny_imagenet() -> None:
    file = "heldout_classes.json"
    training, held_out = (
        load_images(ImageSource("zh-plus/tiny-imagenet", leave_out=file, held_out=held), REAL_ROOT)
        for held in (False, True)
    )
    assert training.images.shape == (32_000, 3, 16, 16)
    assert (training.n_classes, held_out.n_classes) == (160, 40)
    assert not set(training.class_names) & set(held_out.class_names)
    assert set(held_out.class_sizes.tolist()) == {200}
