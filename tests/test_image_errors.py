"""Errors of image datasets: one line that names the dataset, and what is wrong with it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import ClassLabel, Value
from image_folders import NAME, NAMES, dataset_root, source, write, write_class_list, write_pictures
from PIL import Image

from lit_lul.data.image_datasets import ImageSource, load_images
from lit_lul.errors import InvalidInput


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return dataset_root(tmp_path, monkeypatch)


@pytest.fixture
def folder(root: Path) -> Path:
    return root / NAME


def text_dataset(folder: Path) -> ImageSource:
    Path("texts").mkdir()
    Path("texts/train.txt").write_text("one\ntwo\n")
    return ImageSource("texts", image_column="text", label_column="text")


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
            lambda _: source(classes=["ant", "bee"]),
            r"classes: .*pictures.* has no class 'bee'; .*\['zebra', 'ant', 'mole'\]",
        ),
        (lambda _: source(classes=["none"]), r"classes: .* has no class 'none'"),
        (lambda _: source(classes=[]), r"pictures.*no class with images is left"),
        (
            lambda folder: source(leave_out=write_class_list(folder, *NAMES)),
            r"no class with images is left",
        ),
        (
            lambda folder: source(leave_out=write_class_list(folder, "ant", "bee")),
            r"leave_out: .*pictures.* has no class 'bee'",
        ),
        (
            lambda _: source(leave_out="no.json"),
            r"leave_out 'no.json': .*\(tiny-imagenet\) or a JSON file \{.heldout.: .*No such file",
        ),
        (
            leave_out_is_no_json,
            r"leave_out 'bad.json': .*JSON file.*pictures/bad.json: Expecting value",
        ),
        (leave_out_is_a_list, r"leave_out 'bad.json': .*JSON file.*found \['ant'\]"),
        (leave_out_names_numbers, r"leave_out 'bad.json': .*found \{'heldout': \[1\]\}"),
        (corrupt_image, r"dataset 'p', split 'train', row 1: invalid image \(cannot identify"),
        (no_image_in_row, r"row 1: invalid image"),
        (one_class_folder, r"dataset 'p', split 'train': no column 'label'; it has \['image'\]"),
        (float_image, r"row 0: invalid image \(its mode, F, does not define"),
        (unlabelled_row, r"pictures', split 'train', row 1: the label must be a class, not -1"),
        (fractional_label, r"row 0: the label must be a class, not 0.5"),
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
    with pytest.raises(InvalidInput, match="side must be at least 1, got 0"):
        ImageSource(NAME, side=0)
    with pytest.raises(InvalidInput, match="held_out true: leave_out must name"):
        ImageSource(NAME, held_out=True)
