"""Held-out data and the settings of a curve."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lit_lul.data.image_datasets import ImageSource
from lit_lul.data.image_set import ImageSet
from lit_lul.data.text import TextSource, WordBags
from lit_lul.errors import InvalidInput
from lit_lul.evaluation.datasets import digits
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import from_images, from_texts
from lit_lul.networks import MLPs


def test_labels_and_tests_are_disjoint_and_balanced() -> None:
    data = digits()
    assert not (data.unlabelled[:, None] == data.x[None]).all(-1).any(), "no row on both sides"
    support, query = data.sample_rows(10, 20, np.random.default_rng(0))
    assert not set(support) & set(query)
    assert torch.bincount(data.labels[support]).tolist() == [10] * 10
    assert torch.bincount(data.labels[query]).tolist() == [20] * 10


def test_images_and_texts_keep_their_splits_apart() -> None:
    start = torch.tensor([0, 2, 5])
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).repeat(1, 1, 2, 2)
    training = ImageSet(images, start, ("a", "b"))
    test = ImageSet(images + 10, start, ("a", "b"))
    data = from_images(training, test)
    assert data.unlabelled.max() == 4
    assert data.x.min() == 10
    assert data.labels.tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(InvalidInput, match="classes"):
        from_images(training, ImageSet(images, start, ("a", "c")))
    bags = from_texts(
        WordBags(torch.zeros(2, 3), torch.tensor([0, 0]), ()),
        WordBags(torch.ones(2, 3), torch.tensor([-1, 7]), ()),
    )
    assert bags.labels.tolist() == [0, 1]
    assert bags.x.min() == 1


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"draws": 1}, "draws"),
        ({"points": 0}, "points"),
        ({"probes": []}, "probes"),
        ({"statistics_rows": 1}, "statistics_rows 1"),
        ({"images": ImageSource("a"), "text": TextSource("b")}, "one of them"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], culprit: str) -> None:
    with pytest.raises(InvalidInput, match=culprit):
        HeldOut(**settings)


def test_too_few_examples_are_named() -> None:
    with pytest.raises(InvalidInput, match="labels_per_class 500"):
        digits().sample_rows(500, 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    "changes",
    [{"protocol": "transductive"}, {"networks": MLPs((1, 1), (8, 8))}, {"statistics_rows": 9}],
)
def test_a_description_tells_measurements_apart(changes: dict[str, Any]) -> None:
    described = HeldOut().describe()
    assert replace(HeldOut(), every_n_outer_steps=7).describe() == described
    assert replace(HeldOut(), **changes).describe() != described
