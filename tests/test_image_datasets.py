"""Image datasets: their rows and pictures, their classes, the cache, and one-line errors."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from conftest import refused
from datasets import ClassLabel, Value
from image_folders import (
    NAME,
    NAMES,
    assert_same,
    dataset_root,
    source,
    write,
    write_class_list,
    write_pictures,
)
from PIL import Image

from lit_lul.data.image_datasets import ImageSource, load_images, read_class_list, shipped_lists
from lit_lul.errors import InvalidInput


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return dataset_root(tmp_path, monkeypatch)


@pytest.fixture
def folder(root: Path) -> Path:
    return root / NAME


def one(picture: Image.Image, side: int, grey: bool = False) -> torch.Tensor:
    """What becomes of a single picture: uint8, (channels, side, side)."""
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


WNIDS = ["n01443537", "n01774750", "n02056570", "n12267677"]
"""Four of Tiny ImageNet's classes; the second and the third are in the shipped list."""
TINY = "zh-plus/tiny-imagenet"
GREY = Image.new("L", (2, 2))


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


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(datasets, "load_dataset", fail)


def test_one_cached_file_serves_all_choices(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_class_list(folder, "ant")
    first = load_images(source(), str(root))
    forbid_reading(monkeypatch)
    assert_same(load_images(source(), str(root)), first)
    load_images(source(leave_out=file), str(root))
    load_images(source(leave_out=file, held_out=True), str(root))
    assert [*Path("cache").glob("*.safetensors")] == [*Path("cache").glob("images-pictures-*")]
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


def text_dataset(folder: Path) -> ImageSource:
    Path("texts").mkdir()
    Path("texts/train.txt").write_text("one\ntwo\n")
    return ImageSource("texts", image_column="text", label_column="text")


def listing(content: str) -> Callable[[Path], ImageSource]:
    """A source whose list of held-out classes is a file of this content."""

    def bad(folder: Path) -> ImageSource:
        (folder / "bad.json").write_text(content)
        return source(leave_out="bad.json")

    return bad


def rows(
    images: Sequence[object], labels: Sequence[object], kind: object = ClassLabel(names=NAMES)
) -> Callable[[Path], ImageSource]:
    """A source of a dataset that holds these rows alone."""

    def bad(folder: Path) -> ImageSource:
        write(folder, images, labels, kind)
        return source()

    return bad


def pictures(*names: str, picture: Image.Image = GREY) -> Callable[[Path], ImageSource]:
    """A folder in which every file is the same picture."""

    def bad(_: Path) -> ImageSource:
        write_pictures(Path("p"), dict.fromkeys(names, picture))
        return ImageSource("p")

    return bad


def corrupt_image(folder: Path) -> ImageSource:
    write_pictures(Path("p"), {f"{i}/0.png": GREY for i in range(3)})
    Path("p/1/0.png").write_bytes(b"no picture")
    return ImageSource("p")


def unreadable_parquet(folder: Path) -> ImageSource:
    (folder / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 and then nothing")
    return source()


def empty_folder(folder: Path) -> ImageSource:
    Path("empty").mkdir()
    return ImageSource("empty")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            lambda _: source("someone/else"),
            r"'someone/else'.* hub .*root/someone/else or .* into \$LIT_LUL_DATA.*reach",
        ),
        (lambda _: source(split="testing"), r"pictures', split 'testing'.*'train'"),
        (
            lambda _: ImageSource(NAME),
            r"pictures', split 'train': no column 'image'; it has \['img', 'label'\]",
        ),
        (
            lambda _: ImageSource(NAME, image_column="img", label_column="fine_label"),
            r"no column 'fine_label'; it has \['img', 'label'\]",
        ),
        (
            lambda _: ImageSource(NAME, image_column="label"),
            r"column 'label' must hold images, but holds ClassLabel",
        ),
        (text_dataset, r"'texts'.*column 'text' must hold images, but holds Value"),
        (
            lambda folder: source(leave_out=write_class_list(folder, "none"), held_out=True),
            r"pictures.*no class with images is left",
        ),
        (
            lambda folder: source(leave_out=write_class_list(folder, *NAMES)),
            r"no class with images is left",
        ),
        (
            lambda folder: source(leave_out=write_class_list(folder, "ant", "bee")),
            r"leave_out .*pictures.* has no class 'bee'; .*'zebra'",
        ),
        (
            lambda _: source(leave_out="no.json"),
            r"leave_out 'no.json': .*\(tiny-imagenet\) or a JSON file \{.heldout.: .*No such file",
        ),
        (
            listing("ant"),
            r"leave_out 'bad.json': .*JSON file.*pictures/bad.json: Expecting value",
        ),
        (listing('["ant"]'), r"leave_out 'bad.json': .*JSON file.*found \['ant'\]"),
        (listing('{"heldout": [1]}'), r"leave_out 'bad.json': .*found \{'heldout': \[1\]\}"),
        (corrupt_image, r"dataset 'p', split 'train', row 1: invalid image \(cannot identify"),
        (rows([GREY, None], [0, 1]), r"row 1: invalid image"),
        (pictures("a/0.png"), r"dataset 'p', split 'train': no column 'label'; it has \['image'\]"),
        (
            pictures("0/0.tiff", "1/0.tiff", picture=Image.new("F", (2, 2), 0.5)),
            r"row 0: invalid image \(its mode, F, does not define",
        ),
        (
            rows([GREY, GREY], [0, -1]),
            r"pictures', split 'train', row 1: the label must be a class, not -1",
        ),
        (rows([GREY], [0.5], Value("float32")), r"row 0: the label must be a class, not 0.5"),
        (unreadable_parquet, r"pictures', split 'train', from .*pictures: .*[Pp]arquet"),
        (empty_folder, r"dataset 'empty'.*doesn't contain any data files"),
        (rows([], []), r"pictures"),
    ],
)
def test_errors_are_one_line_that_names_the_culprit(
    root: Path, folder: Path, bad: Callable[[Path], ImageSource], message: str
) -> None:
    asked = bad(folder)
    with refused(message):
        load_images(asked, str(root))


def test_held_out_classes_need_a_list() -> None:
    with pytest.raises(InvalidInput, match="held_out true: leave_out must name"):
        ImageSource(NAME, held_out=True)
