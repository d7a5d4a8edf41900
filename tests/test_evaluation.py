"""Rollouts on held-out data: draws, probes, curves, and the two protocols."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import Curve, roll_out_draws
from lit_lul.evaluation.datasets import digits
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut, Protocol
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.learners import Batch, State, UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLPs, Network
from lit_lul.objectives import FewShotRidge
from lit_lul.trees import map_tensors

HELD_OUT = HeldOut(
    networks=MLPs((1, 1), (8, 8)),
    inner_steps=4,
    points=2,
    batch_size=16,
    probes=["ridge", "logistic"],
    draws=3,
)


@pytest.fixture
def rule() -> UnsupervisedUpdate:
    torch.manual_seed(0)
    settings = UpdateSettings(
        hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.1
    )
    return UnsupervisedUpdate(settings)


@pytest.mark.parametrize("protocol", ["inductive", "transductive"])
def test_a_draw_does_not_depend_on_other_draws(
    rule: UnsupervisedUpdate, protocol: Protocol
) -> None:
    data, objective, held_out = digits(), FewShotRidge(), replace(HELD_OUT, protocol=protocol)
    together = roll_out_draws(rule, objective, data, held_out, range(3))
    for n in range(3):
        alone = roll_out_draws(rule, objective, data, held_out, [n])
        torch.testing.assert_close(alone.accuracy[..., 0], together.accuracy[..., n])
    assert together.accuracy.shape == (2, 3, 3)
    assert len(together.accuracy[0, 0].unique()) > 1


def query_embedding(rule: UnsupervisedUpdate, held_out: HeldOut) -> torch.Tensor:
    """The embedding of the first draw's query, class by class, (classes, tests per class, E)."""
    rollouts = roll_out_draws(rule, FewShotRidge(), digits(), held_out, [0])
    return rollouts.embedding.view(10, -1, 6)


def test_an_inductive_embedding_depends_on_no_other_labelled_row(rule: UnsupervisedUpdate) -> None:
    many = query_embedding(rule, HELD_OUT)
    one = query_embedding(rule, replace(HELD_OUT, tests_per_class=1))
    assert many.shape[1] > 1
    assert one.shape[1] == 1
    torch.testing.assert_close(one[:, 0], many[:, 0], rtol=1e-6, atol=1e-6)


def test_a_transductive_embedding_depends_on_the_other_labelled_rows(
    rule: UnsupervisedUpdate,
) -> None:
    held_out = replace(HELD_OUT, protocol="transductive")
    one = query_embedding(rule, replace(held_out, tests_per_class=1))
    assert (one[:, 0] - query_embedding(rule, held_out)[:, 0]).abs().max() > 0.01


def test_protocols_and_samples_leave_the_rest_of_a_draw_as_it_is(rule: UnsupervisedUpdate) -> None:
    def first_layer(**changes: Any) -> torch.Tensor:
        held_out = replace(HELD_OUT, **changes)
        weights = roll_out_draws(rule, FewShotRidge(), digits(), held_out, [1]).first_layer
        assert weights is not None
        return weights

    expected = first_layer()
    for changes in ({"protocol": "transductive"}, {"statistics_rows": 100}):
        assert torch.equal(first_layer(**changes), expected)


def test_statistics_are_of_a_fixed_sample_of_unlabelled_rows() -> None:
    data = digits()
    draws = Draws(data, replace(HELD_OUT, statistics_rows=100), [0, 1], torch.empty(0))
    sample = draws.statistics_rows()
    draws.minibatch()
    assert torch.equal(draws.statistics_rows(), sample)
    unlabelled = {tuple(row) for row in data.unlabelled.tolist()}
    for rows, permutation in zip(sample, draws.permutation, strict=True):
        restored = (rows[:, permutation.argsort()] / data.scale).round().int().tolist()
        assert len({tuple(row) for row in restored}) == 100
        assert {tuple(row) for row in restored} <= unlabelled
    everything = Draws(data, HELD_OUT, [0], torch.empty(0)).statistics_rows()
    assert everything.shape[1] == len(data.unlabelled)


def test_probes_learn_what_is_there(rule: UnsupervisedUpdate) -> None:
    labels = torch.arange(300) % 3
    x = (torch.nn.functional.one_hot(labels, 3) * 200).to(torch.uint8).repeat(1, 4)
    separable = HeldOutData(x, x, labels, 1 / 255, None)
    noise = torch.randint(256, x.shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    hopeless = HeldOutData(noise, noise, labels, 1 / 255, None)
    for data, low, high in ((separable, 0.99, 1.0), (hopeless, 0.2, 0.47)):
        accuracy = roll_out_draws(rule, FewShotRidge(), data, HELD_OUT, range(3)).accuracy
        assert accuracy[:, 0].mean() >= low
        assert accuracy.mean() <= high


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_network_that_has_diverged_knows_one_class(
    rule: UnsupervisedUpdate, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    def diverge(_: Any, __: Network, state: State, ___: Batch) -> State:
        return map_tensors(lambda t: torch.full_like(t, value), state)

    monkeypatch.setattr(UnsupervisedUpdate, "step", diverge)
    accuracy = roll_out_draws(rule, FewShotRidge(), digits(), HELD_OUT, range(3)).accuracy
    assert accuracy[:, 1:].flatten().tolist() == pytest.approx([0.1] * 12)


def test_receptive_fields_are_in_the_order_of_the_pixels(rule: UnsupervisedUpdate) -> None:
    data = digits()
    draws = Draws(data, HELD_OUT, [0], torch.empty(0))
    support, _ = data.sample_rows(10, 50, _after_permutation(HELD_OUT.seed, data.x.shape[1]))
    restored = draws.labelled.support_x[0, 0][:, draws.permutation[0].argsort()]
    torch.testing.assert_close(restored, data.x[torch.from_numpy(support)].float() / 16)
    first_layer = roll_out_draws(rule, FewShotRidge(), data, HELD_OUT, [0]).first_layer
    assert first_layer is not None
    assert first_layer.shape == (64, 8)


def _after_permutation(seed: int, inputs: int) -> np.random.Generator:
    rng = np.random.default_rng([seed, 0])
    rng.permutation(inputs)
    return rng


def test_standard_error_of_a_curve() -> None:
    curve = Curve.of((0, 1), torch.tensor([[0.1, 0.3], [0.5, 0.5]], dtype=torch.float64))
    assert curve.mean == pytest.approx((0.2, 0.5))
    assert curve.standard_error == pytest.approx((0.1, 0.0))


def test_a_network_that_the_learner_does_not_train_is_refused(rule: UnsupervisedUpdate) -> None:
    class Wide(MLPs):
        def at(self, quantile: float, inputs: int, outputs: int) -> Any:
            return super().at(quantile, inputs, outputs + 1)

    held_out = replace(HELD_OUT, networks=Wide((1, 1), (8, 8)))
    with pytest.raises(InvalidInput, match="7 units"):
        roll_out_draws(rule, FewShotRidge(), digits(), held_out, [0])
