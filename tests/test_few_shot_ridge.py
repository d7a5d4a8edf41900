"""The few-shot ridge objective: diverged tasks, missing columns, the inductive form."""

from typing import Any

import pytest
import torch

from lit_lul.networks.mlp import MLP, MLPParams
from lit_lul.objectives.few_shot_ridge import PAPER, FewShotRidge
from lit_lul.objectives.objective import Labelled
from lit_lul.trees import map_tensors

NETWORK = MLP((5, 4, 3), "tanh")


def make_data(tasks: int, draws: int = 2) -> tuple[MLPParams, Labelled]:
    """φ and labelled draws; the second task has no regression column."""
    generator = torch.Generator().manual_seed(4)
    params = map_tensors(lambda p: 10 * p, NETWORK.init(tasks, generator, torch.float64))
    x = torch.rand(2, draws, tasks, 8, 5, generator=generator, dtype=torch.float64)
    y = torch.eye(2, dtype=torch.float64)[torch.arange(8) % 2].expand(draws, tasks, 8, 2)
    y = torch.cat([y, x[0, ..., :1]], dim=-1)
    is_class = torch.tensor([True, True, False]).repeat(tasks, 1)
    is_target = torch.ones(tasks, 3, dtype=torch.bool)
    is_target[1:, 2] = False
    return params, Labelled(x[0], y, x[1], y, is_class, is_target)


@pytest.mark.parametrize("form", [{}, PAPER])
def test_a_diverged_task_has_neither_loss_nor_accuracy(form: dict[str, Any]) -> None:
    params, labelled = make_data(tasks=2)
    broken = map_tensors(lambda p: torch.cat([p[:1] * torch.nan, p[1:]]), params)
    score = FewShotRidge(**form)(NETWORK, broken, labelled)
    assert score.loss.isnan().tolist() == [True, False]
    assert score.accuracy.isnan().tolist() == [True, False]
    whole = FewShotRidge(**form)(NETWORK, params, labelled)
    torch.testing.assert_close(score.accuracy[1], whole.accuracy[1])


@pytest.mark.parametrize("form", [{}, PAPER])
def test_missing_columns_are_as_if_never_there(form: dict[str, Any]) -> None:
    params, labelled = make_data(tasks=2)
    second = Labelled(
        labelled.support_x[:, 1:],
        labelled.support_y[:, 1:, :, :2],
        labelled.query_x[:, 1:],
        labelled.query_y[:, 1:, :, :2],
        labelled.is_class[1:, :2],
        labelled.is_target[1:, :2],
    )
    objective = FewShotRidge(**form)
    alone = objective(NETWORK, map_tensors(lambda p: p[1:], params), second)
    torch.testing.assert_close(objective(NETWORK, params, labelled).loss[1:], alone.loss)


def test_batches_together_share_statistics_and_batches_apart_do_not() -> None:
    params, labelled = make_data(tasks=1)
    shifted = labelled._replace(query_x=labelled.query_x + labelled.query_x.square())
    for batches, same in (("apart", True), ("together", False)):
        objective = FewShotRidge(batches=batches)  # type: ignore[arg-type]
        support, _ = objective.embed(NETWORK, params, labelled)
        assert torch.equal(objective.embed(NETWORK, params, shifted)[0], support) == same


@pytest.mark.parametrize("form", [{}, PAPER])
def test_with_statistics_no_example_depends_on_another(form: dict[str, Any]) -> None:
    params, labelled = make_data(tasks=2)
    rows = torch.rand(2, 30, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    statistics = NETWORK.statistics(params, rows)
    objective = FewShotRidge(**form)
    support, query = objective.embed(NETWORK, params, labelled, statistics)
    few = labelled._replace(
        support_x=labelled.support_x[..., :1, :], query_x=labelled.query_x[..., 3:4, :]
    )
    one_support, one_query = objective.embed(NETWORK, params, few, statistics)
    torch.testing.assert_close(one_support, support[..., :1, :])
    torch.testing.assert_close(one_query, query[..., 3:4, :])
    transductive, _ = objective.embed(NETWORK, params, labelled)
    assert (support - transductive).abs().max() > 0.01


def test_unlabelled_examples_give_the_statistics() -> None:
    params, labelled = make_data(tasks=2)
    rows = torch.rand(2, 30, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    statistics = NETWORK.statistics(params, rows)
    objective = FewShotRidge(batches="unlabelled")
    assert objective.needs_unlabelled and not FewShotRidge().needs_unlabelled
    inductive = objective(NETWORK, params, labelled._replace(unlabelled_x=rows))
    embedded = FewShotRidge().embed(NETWORK, params, labelled, statistics)
    torch.testing.assert_close(inductive, FewShotRidge().score(*embedded, labelled))


@pytest.mark.parametrize("form", [{}, PAPER])
def test_more_features_than_examples_have_the_same_solution(form: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(2, 1, 6, 9, generator=generator, dtype=torch.float64)
    y = torch.rand(2, 1, 6, 2, generator=generator, dtype=torch.float64)
    objective = FewShotRidge(**form)
    found = objective.regress(x, y, x).coefficients
    rows = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)
    residual = rows.mT @ (rows @ found - y)  # the gradient of half the loss, without the penalty
    penalty = torch.full((10, 1), objective.ridge, dtype=torch.float64)
    if not objective.penalise_intercept:
        penalty[-1] = 0
    torch.testing.assert_close(residual, -penalty * found)
