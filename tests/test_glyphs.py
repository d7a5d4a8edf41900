"""The rendered characters: which there are, how they differ, and where the ink lies."""

import unicodedata
from itertools import pairwise
from string import ascii_letters

import pytest
import torch

from lit_lul.data import glyphs
from lit_lul.data.glyphs import Face, Style, characters_in, load_glyphs
from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput

SIDE = 8


@pytest.fixture(scope="session")
def images(cache: None) -> ImageSet:
    return load_glyphs(SIDE)


@pytest.fixture(scope="session")
def face() -> Face:
    return Face(glyphs._font_files("DejaVuSans.ttf")[0])


def test_shapes(images: ImageSet) -> None:
    assert images.n_classes == len(set(images.class_names)) >= 1000
    assert images.images.dtype == torch.uint8
    assert images.images.shape == (images.class_start[-1], 1, SIDE, SIDE)
    assert (images.side, images.channels) == (SIDE, 1)
    assert images.class_start.shape == (images.n_classes + 1,)
    assert len(set(images.class_sizes.tolist())) == 1


def test_variants_of_a_character_differ(images: ImageSet) -> None:
    for first, last in pairwise(images.class_start.tolist()):
        assert len({image.numpy().tobytes() for image in images.images[first:last]}) >= 32


def test_every_image_is_filled(images: ImageSet) -> None:
    ink = images.images[:, 0] > 16
    height = ink.any(2).sum(1)
    width = ink.any(1).sum(1)
    assert torch.maximum(height, width).min() >= SIDE - 2
    assert images.images.amax((1, 2, 3)).min() > 32


def test_categories(images: ImageSet) -> None:
    letters, mathematics, currency = (
        [images.class_names[index] for index in characters_in(category, images.class_names)]
        for category in ("letters", "mathematics", "currency")
    )
    assert len(letters) >= 40
    assert set(letters) <= set(ascii_letters)
    assert len(mathematics) >= 30
    assert {unicodedata.category(c) for c in mathematics} == {"Sm"}
    assert len(currency) >= 10
    assert {"$", "€"} <= set(currency)


def test_no_digits(images: ImageSet) -> None:
    for name in images.class_names:
        for part in name + unicodedata.normalize("NFKD", name):
            assert not unicodedata.category(part).startswith("N")
    assert "\N{CYRILLIC CAPITAL LETTER ZE}" not in images.class_names


def test_one_class_for_characters_that_look_alike(images: ImageSet) -> None:
    alpha, cyrillic_a = "\N{GREEK CAPITAL LETTER ALPHA}", "\N{CYRILLIC CAPITAL LETTER A}"
    assert {"A", alpha, cyrillic_a} & set(images.class_names) == {"A"}
    assert {"O", "o"} & set(images.class_names) == {"O"}


def test_first_of_the_characters_that_look_alike_is_kept(face: Face) -> None:
    assert glyphs._distinct("ovB3O+VAI|", [face]) == list("ovB+AI")


def test_second_load_does_not_render(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(glyphs, "_render", fail)
    again = load_glyphs(SIDE)
    assert again.class_names == images.class_names
    assert torch.equal(again.images, images.images)
    assert torch.equal(again.class_start, images.class_start)
    with pytest.raises(AssertionError, match="rendered again"):
        load_glyphs(SIDE + 1)


def test_small_side_is_refused() -> None:
    with pytest.raises(InvalidInput, match="side 3: must be at least 4"):
        load_glyphs(3)


def test_missing_fonts_are_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="NoSuchFont"):
        glyphs._font_files("NoSuchFont*.ttf")


@pytest.mark.parametrize("side", [14, 28])
def test_ink_is_bright_centred_and_has_a_margin(face: Face, side: int) -> None:
    margin = side // 14
    picture = face.draw("H", Style(), side)
    assert picture.shape == (side, side)
    assert picture.max() == 255
    rows, columns = picture.any(1).nonzero(), picture.any(0).nonzero()
    assert rows.min() == margin
    assert rows.max() == side - 1 - margin
    assert abs(columns.min() + columns.max() - (side - 1)) <= 1
    assert columns.min() > margin


def test_styles_deform_as_they_say(face: Face) -> None:
    plain = face.draw("l", Style(), 28)

    def centre(rows: torch.Tensor) -> float:
        return float((rows.float().sum(0) @ torch.arange(28.0)) / rows.sum())

    slanted = face.draw("l", Style(shear=0.3), 28)
    assert centre(slanted[:14]) > centre(slanted[14:]) + 2
    assert abs(centre(plain[:14]) - centre(plain[14:])) < 0.5
    slanted_left = face.draw("l", Style(shear=-0.3), 28)
    assert centre(slanted_left[:14]) < centre(slanted_left[14:]) - 2
    assert face.draw("l", Style(stroke=1.5), 28).sum() > 1.2 * plain.sum()
    assert face.draw("l", Style(stretch=2.0), 28).sum() > 1.5 * plain.sum()


def test_missing_and_blank_characters_have_no_ink(face: Face) -> None:
    assert face.has_ink("A")
    assert not face.has_ink(" ")
    assert not face.has_ink("\N{CJK UNIFIED IDEOGRAPH-4E00}")
    with pytest.raises(ValueError, match="no ink"):
        face.draw(" ", Style(), SIDE)
