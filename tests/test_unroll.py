"""Gradients through rule, unroll and objective; tasks kept apart; recomputation."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lit_lul.estimators import PersistentES, TruncatedBackprop, Truncation
from lit_lul.estimators.persistent_es import call_at
from lit_lul.estimators.truncated_backprop import advance, flatten
from lit_lul.learners.learner import Batch, State
from lit_lul.learners.metz import PAPER, UnsupervisedUpdate, UpdateSettings
from lit_lul.networks.mlp import MLP
from lit_lul.objectives import few_shot_ridge
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Labelled
from lit_lul.trees import map_tensors

NETWORK = MLP((5, 4, 3), activation="tanh")
FORMS: list[tuple[dict[str, Any], FewShotRidge]] = [
    ({}, FewShotRidge()),
    (PAPER | {"inner_rate": 0.1}, FewShotRidge(**few_shot_ridge.PAPER)),
]
both_forms = pytest.mark.parametrize(("form", "objective"), FORMS, ids=["released", "paper"])


def make_rule(**settings: Any) -> UnsupervisedUpdate:
    """A tiny rule in float64 whose merge weights are large enough to matter."""
    torch.manual_seed(0)
    sizes: Any = {
        "hidden_channels": 4,
        "error_channels": 3,
        "top_channels": 3,
        "readout_channels": 2,
    }
    sizes |= {"embedding_units": 3, "inner_rate": 0.1} | settings
    return UnsupervisedUpdate(UpdateSettings(**sizes)).double()


def make_state(tasks: int) -> State:
    """A state of the rule that is far from its start."""
    state = make_rule().start(NETWORK, tasks, torch.Generator().manual_seed(4))
    return map_tensors(lambda p: 10 * p, state)


def make_truncation(tasks: int, steps: int, draws: int = 2) -> Truncation:
    """Batches and labelled draws; the second task has no regression column."""
    generator = torch.Generator().manual_seed(4)
    batches = [
        Batch(torch.rand(tasks, 6, 5, generator=generator, dtype=torch.float64))
        for _ in range(steps)
    ]
    x = torch.rand(2, draws, tasks, 8, 5, generator=generator, dtype=torch.float64)
    y = torch.eye(2, dtype=torch.float64)[torch.arange(8) % 2].expand(draws, tasks, 8, 2)
    y = torch.cat([y, x[0, ..., :1]], dim=-1)
    is_class = torch.tensor([True, True, False]).repeat(tasks, 1)
    is_target = torch.ones(tasks, 3, dtype=torch.bool)
    is_target[1:, 2] = False
    labelled = Labelled(x[0], y, x[1], y, is_class, is_target)
    return Truncation(NETWORK, tasks, batches, labelled, start_seed=5, noise_seed=6)


@both_forms
def test_gradcheck(form: dict[str, Any], objective: FewShotRidge) -> None:
    rule, state, truncation = make_rule(**form), make_state(2), make_truncation(2, steps=2)

    def loss(*theta: Tensor) -> Tensor:
        last = call_at(rule, flatten(theta), advance, state, truncation)
        return objective(NETWORK, rule.parameters_of(last), truncation.labelled).loss

    theta = tuple(p.detach().requires_grad_() for p in rule.parameters())
    # of every parameter, along random directions: a second, where all of θ takes a minute
    assert torch.autograd.gradcheck(loss, theta, eps=1e-6, atol=1e-8, rtol=1e-4, fast_mode=True)
    expected = flatten(torch.autograd.grad(loss(*theta).mean(), theta))
    gradient = TruncatedBackprop()(rule, objective, state, truncation).gradient
    torch.testing.assert_close(gradient, expected)


@both_forms
def test_evolution_strategies_agree_along_their_noise(
    form: dict[str, Any], objective: FewShotRidge
) -> None:
    rule, truncation, std = make_rule(**form), make_truncation(2, steps=1), 1e-6
    gradient = TruncatedBackprop()(rule, objective, None, truncation).gradient
    estimated = PersistentES(std=std)(rule, objective, None, truncation)
    direction = estimated.carry["noise"][0] / std
    assert (gradient @ direction).abs() > 1e-3
    torch.testing.assert_close(
        estimated.gradient, direction * (gradient @ direction), rtol=1e-4, atol=0
    )


def test_recomputation_changes_no_gradient() -> None:
    rule, state, truncation = make_rule(), make_state(2), make_truncation(2, steps=3)
    kept, recomputed = (
        TruncatedBackprop(recompute=recompute)(rule, FewShotRidge(), state, truncation)
        for recompute in (False, True)
    )
    assert kept.gradient.abs().max() > 0
    assert torch.equal(kept.gradient, recomputed.gradient)
