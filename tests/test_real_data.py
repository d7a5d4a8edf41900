"""Real datasets are read as they are, into the cache that all tests share."""

import pytest
from real_data import real_data

from lit_lul.data.image_datasets import ImageSource, load_images
from lit_lul.data.text import TextSource, load_word_bags


@real_data
def test_cifar10() -> None:
    asked = ImageSource("uoft-cs/cifar10", image_column="img")
    images = load_images(asked)
    assert images.images.shape == (20_000, 3, 16, 16)
    assert images.class_names[0] == "airplane" and images.n_classes == 10
    assert 1_900 < images.class_sizes.min() <= images.class_sizes.max() < 2_100
    mean = images.images.float().mean((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx([0.491, 0.482, 0.447], abs=0.01)


@real_data
def test_mnist() -> None:
    images = load_images(ImageSource("ylecun/mnist", "test", side=14, grey=True))
    assert images.images.shape == (10_000, 1, 14, 14)
    assert images.class_names == tuple("0123456789")
    assert images.class_sizes.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@real_data
def test_tiny_imagenet() -> None:
    name, shipped = "zh-plus/tiny-imagenet", "tiny-imagenet"
    training = load_images(ImageSource(name, leave_out=shipped))
    held_out = load_images(ImageSource(name, leave_out=shipped, held_out=True))
    assert training.images.shape[1:] == (3, 16, 16)
    assert (training.n_classes, held_out.n_classes) == (160, 40)
    assert not set(training.class_names) & set(held_out.class_names)
    assert training.class_sizes.unique().tolist() == held_out.class_sizes.unique().tolist()


@real_data
def test_imdb() -> None:
    bags = load_word_bags(TextSource("stanfordnlp/imdb"), "train")
    assert bags.x.shape == (25000, 1003)
    assert bags.labels.bincount().tolist() == [12500, 12500]
    assert "the" in bags.vocabulary
    assert bags.x[:, bags.vocabulary.index("the")].float().mean() > 0.9
