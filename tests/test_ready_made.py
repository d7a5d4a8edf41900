"""Held-out datasets that need no files, and choosing the classes of one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lit_lul.data.glyphs import load_glyphs
from lit_lul.data.text import TopicModel
from lit_lul.errors import InvalidInput
from lit_lul.evaluation.datasets import READY_MADE, glyphs
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.tasks.glyph_tasks import GlyphTasks

LIGHT = ["digits", "wine", "breast_cancer", "moons", "blobs", "prior-0", "prior-1"]


@pytest.mark.parametrize("name", LIGHT)
def test_rows_are_in_the_unit_interval_and_the_same_every_time(name: str) -> None:
    data = READY_MADE[name]()
    assert data.unlabelled_classes is not None
    assert len(data.unlabelled_classes) == len(data.unlabelled)
    assert len(data.labels) == len(data.x)
    assert set(data.labels.tolist()) == set(range(data.n_classes))
    for rows in (data.unlabelled, data.x):
        assert 0 <= rows.min() * data.scale < rows.max() * data.scale <= 1
    again = READY_MADE[name]()
    assert torch.equal(again.unlabelled, data.unlabelled)
    assert torch.equal(again.x, data.x)
    data.sample_rows(5, 5, np.random.default_rng(0))


def test_held_out_worlds_differ() -> None:
    first, second = READY_MADE["prior-0"](), READY_MADE["prior-1"]()
    assert (first.x.shape[1], first.n_classes) != (second.x.shape[1], second.n_classes)


@pytest.mark.slow
def test_glyphs_are_characters_that_training_does_not_have() -> None:
    data = glyphs(side=8)  # rendered once for all tests
    training, _ = GlyphTasks(side=8).load("glyphs", None)
    assert data.n_classes == load_glyphs(8).n_classes - len(training.pool)
    assert data.x.shape[1] == 8**2
    assert 0 <= data.x.min() < data.x.max() <= 1
    of_first = data.x[data.labels == 0]
    assert len(of_first.unique(dim=0)) == len(of_first), "every example is bent on its own"


def test_topics_can_be_told_apart_by_words() -> None:
    model, rng = TopicModel(4, 300, seed=0), np.random.default_rng(0)
    labels = np.arange(4).repeat(150)
    texts = model.sample(labels, rng)
    assert set(np.unique(texts)) == {0, 1}
    order = rng.permutation(len(labels))
    known, asked = order[:300], order[300:]
    classifier = LogisticRegression(max_iter=1000).fit(texts[known], labels[known])
    assert classifier.score(texts[asked], labels[asked]) > 0.5


def test_unlabelled_rows_are_of_the_classes_that_are_asked_for() -> None:
    whole = READY_MADE["digits"]()
    some = HeldOut(dataset="digits", classes=4, unlabelled_classes="same")
    same, everything, others = (
        replace(some, unlabelled_classes=which).load(None) for which in ("same", "all", "others")
    )
    assert same.n_classes == 4
    assert torch.equal(same.x, others.x)
    assert torch.equal(everything.unlabelled, whole.unlabelled)
    assert len(same.unlabelled) + len(others.unlabelled) == len(whole.unlabelled)
    assert whole.unlabelled_classes is not None
    probed = torch.cdist(whole.x.float(), same.x.float()).amin(1) == 0
    kept = torch.isin(whole.unlabelled_classes, whole.labels[probed].unique())
    assert torch.equal(same.unlabelled, whole.unlabelled[kept])


def test_descriptions_from_before_a_setting_existed_stay_valid() -> None:
    assert not {"dataset", "classes", "unlabelled_classes"} & HeldOut().describe().keys()
    assert HeldOut(dataset="wine").describe()["dataset"] == "wine"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "vine"}, "dataset 'vine': expected one of digits, wine"),
        ({"classes": 11}, "classes 11: expected 2 to 10"),
        ({"unlabelled_classes": "others"}, "no row is left"),
        ({"probes": ["logistic_cv"], "labels_per_class": 1}, "logistic_cv needs 2 or more"),
    ],
)
def test_impossible_settings_are_errors(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        HeldOut(**settings).load(None)  # type: ignore[arg-type] # wrong on purpose
