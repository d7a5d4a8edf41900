"""Image datasets: how they are found, their order, and how images are decoded and resized."""

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Value
from image_folders import NAME, NAMES, assert_same, dataset_root, source, write, write_pictures
from PIL import Image

from lit_lul.data.image_datasets import ImageSource, load_images


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return dataset_root(tmp_path, monkeypatch)


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
