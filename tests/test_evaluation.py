"""Held-out data, draws, probes and curves."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lit_lul.data.image_datasets import ImageSource
from lit_lul.data.image_set import ImageSet
from lit_lul.data.text import TextSource, WordBags
from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import Curve, Draws, roll_out_draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_curve import HeldOutCurve
from lit_lul.evaluation.held_out_data import HeldOutData, digits, from_images, from_texts
from lit_lul.learners.update_rule import RuleSettings, UnsupervisedUpdate
from lit_lul.networks.mlp import Phi
from lit_lul.objectives.few_shot_ridge import MetaObjective

HELD_OUT = HeldOut(
    hidden_units=[8],
    inner_steps=4,
    points=2,
    batch_size=16,
    probes=["ridge", "logistic"],
    draws=3,
)


@pytest.fixture
def rule() -> UnsupervisedUpdate:
    torch.manual_seed(0)
    settings = RuleSettings(
        hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.1
    )
    return UnsupervisedUpdate(settings)


def test_a_draw_is_the_same_in_any_company(rule: UnsupervisedUpdate) -> None:
    data, objective = digits(), MetaObjective()
    together = roll_out_draws(rule, objective, data, HELD_OUT, range(3))
    for n in range(3):
        alone = roll_out_draws(rule, objective, data, HELD_OUT, [n])
        torch.testing.assert_close(alone.accuracy[..., 0], together.accuracy[..., n])
    assert together.accuracy.shape == (2, 3, 3)
    assert len(together.accuracy[0, 0].unique()) > 1


def test_ranks_share_the_draws_out(rule: UnsupervisedUpdate) -> None:
    module = SimpleNamespace(objective=MetaObjective(), device=torch.device("cpu"))

    def curves(rank: int, ranks: int, others: torch.Tensor | float) -> tuple[Any, torch.Tensor]:
        """One rank's curves, where the other ranks' accuracies are known; and its own."""
        own = []

        def reduce(accuracy: torch.Tensor, reduce_op: str) -> torch.Tensor:
            own.append(accuracy.clone())
            return accuracy + others

        trainer: Any = SimpleNamespace(
            global_rank=rank,
            world_size=ranks,
            strategy=SimpleNamespace(reduce=reduce),
            precision_plugin=SimpleNamespace(forward_context=nullcontext),
        )
        callback = HeldOutCurve("digits", HELD_OUT)
        callback.data = digits()
        return callback._curves(trainer, module, rule)[0], own[0]

    whole, _ = curves(0, 1, 0.0)
    _, second = curves(1, 2, 0.0)
    shared, first = curves(0, 2, second)
    assert (first[..., 1] == 0).all()
    assert (second[..., [0, 2]] == 0).all()
    for probe, curve in whole.items():
        assert shared[probe].mean == pytest.approx(curve.mean)


def test_probes_learn_what_is_there(rule: UnsupervisedUpdate) -> None:
    labels = torch.arange(300) % 3
    x = (torch.nn.functional.one_hot(labels, 3) * 200).to(torch.uint8).repeat(1, 4)
    separable = HeldOutData(x, x, labels, 1 / 255, None)
    noise = torch.randint(256, x.shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    hopeless = HeldOutData(noise, noise, labels, 1 / 255, None)
    for data, low, high in ((separable, 0.99, 1.0), (hopeless, 0.2, 0.47)):
        accuracy = roll_out_draws(rule, MetaObjective(), data, HELD_OUT, range(3)).accuracy
        assert accuracy[:, 0].mean() >= low
        assert accuracy.mean() <= high


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_network_that_has_diverged_knows_one_class(
    rule: UnsupervisedUpdate, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    def diverge(_: Any, __: Any, phi: Phi, ___: Any) -> Phi:
        return phi.map(lambda p: torch.full_like(p, value))

    monkeypatch.setattr(UnsupervisedUpdate, "forward", diverge)
    accuracy = roll_out_draws(rule, MetaObjective(), digits(), HELD_OUT, range(3)).accuracy
    assert accuracy[:, 1:].flatten().tolist() == pytest.approx([0.1] * 12)


def test_receptive_fields_are_in_the_order_of_the_pixels(rule: UnsupervisedUpdate) -> None:
    data = digits()
    draws = Draws(data, HELD_OUT, [0], torch.device("cpu"))
    support, _ = data.sample_rows(10, 50, _after_permutation(HELD_OUT.seed, data.x.shape[1]))
    restored = draws.labelled.support_x[0, 0][:, draws.permutation[0].argsort()]
    torch.testing.assert_close(restored, data.x[torch.from_numpy(support)].float() / 16)
    rollouts = roll_out_draws(rule, MetaObjective(), data, HELD_OUT, [0])
    assert rollouts.first_layer.shape == (64, 8)


def _after_permutation(seed: int, inputs: int) -> np.random.Generator:
    rng = np.random.default_rng([seed, 0])
    rng.permutation(inputs)
    return rng


def test_labels_and_tests_are_disjoint_and_balanced() -> None:
    data = digits()
    assert not (data.unlabelled[:, None] == data.x[None]).all(-1).any(), "no row on both sides"
    support, query = data.sample_rows(10, 20, np.random.default_rng(0))
    assert not set(support) & set(query)
    assert torch.bincount(data.labels[support]).tolist() == [10] * 10
    assert torch.bincount(data.labels[query]).tolist() == [20] * 10


def test_curves_of_another_protocol_are_not_gone_on_from() -> None:
    curve = vars(Curve(HELD_OUT.probe_steps, (0.1, 0.2, 0.3), (0.0, 0.0, 0.0)))
    same = HeldOutCurve("digits", HELD_OUT)
    same.load_state_dict({"curves": {3: {"ridge": curve, "logistic": curve}}})
    assert list(same.curves) == [3]
    other = HeldOutCurve("digits", HELD_OUT)
    other.load_state_dict({"curves": {3: {"ridge": curve}}})
    assert not other.curves


def test_standard_error_of_a_curve() -> None:
    curve = Curve.of((0, 1), torch.tensor([[0.1, 0.3], [0.5, 0.5]], dtype=torch.float64))
    assert curve.mean == pytest.approx((0.2, 0.5))
    assert curve.standard_error == pytest.approx((0.1, 0.0))


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
        ({"hidden_units": [0]}, "sizes"),
        ({"activation": "gelu"}, "gelu"),
        ({"images": ImageSource("a"), "text": TextSource("b")}, "one of them"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], culprit: str) -> None:
    with pytest.raises(InvalidInput, match=culprit):
        HeldOut(**settings)


def test_too_few_examples_are_named() -> None:
    with pytest.raises(InvalidInput, match="labels_per_class 500"):
        digits().sample_rows(500, 1, np.random.default_rng(0))
