"""Gradients through rule, unroll and objective; tasks kept apart; recomputation."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.estimators import PersistentES, TruncatedBackprop, Truncation
from lit_lul.estimators.persistent_es import call_at
from lit_lul.estimators.truncated_backprop import advance, flatten
from lit_lul.learners.learner import Batch, State
from lit_lul.learners.metz import PAPER, UnsupervisedUpdate, UpdateSettings
from lit_lul.networks.mlp import ACTIVATIONS, MLP
from lit_lul.objectives import few_shot_ridge
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Labelled
from lit_lul.trees import map_tensors, tensors_of

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


@both_forms
def test_tasks_at_once_equal_tasks_alone(form: dict[str, Any], objective: FewShotRidge) -> None:
    rule, state, truncation = make_rule(**form), make_state(3), make_truncation(3, steps=3)
    labelled = truncation.labelled
    together = TruncatedBackprop()(rule, objective, state, truncation)
    for task in range(3):
        one = slice(task, task + 1)
        alone = TruncatedBackprop()(
            rule,
            objective,
            take(state, one),
            Truncation(
                NETWORK,
                1,
                [Batch(batch.x[one]) for batch in truncation.batches],
                Labelled(
                    labelled.support_x[:, one],
                    labelled.support_y[:, one],
                    labelled.query_x[:, one],
                    labelled.query_y[:, one],
                    labelled.is_class[one],
                    labelled.is_target[one],
                ),
                start_seed=5,
                noise_seed=6,
            ),
        )
        torch.testing.assert_close(together.score.loss[one], alone.score.loss)
        torch.testing.assert_close(together.score.accuracy[one], alone.score.accuracy)
        torch.testing.assert_close(take(together.carry, one), alone.carry)


def take(state: State, tasks: slice) -> State:
    """The state of some of the tasks."""
    return map_tensors(lambda p: p[tasks], state)


def test_missing_columns_are_as_if_never_there() -> None:
    objective, params = FewShotRidge(), make_state(2)["params"]
    labelled = make_truncation(2, steps=1).labelled
    second = Labelled(
        labelled.support_x[:, 1:],
        labelled.support_y[:, 1:, :, :2],
        labelled.query_x[:, 1:],
        labelled.query_y[:, 1:, :, :2],
        labelled.is_class[1:, :2],
        labelled.is_target[1:, :2],
    )
    alone = objective(NETWORK, take(params, slice(1, None)), second)
    torch.testing.assert_close(objective(NETWORK, params, labelled).loss[1:], alone.loss)


@pytest.mark.parametrize("name", PAPER)
def test_every_difference_between_the_forms_is_a_setting_of_its_own(name: str) -> None:
    state, (batch,) = make_state(1), make_truncation(1, steps=1).batches
    rules = [make_rule(), make_rule(**{name: PAPER[name]})]
    outcomes = []
    for rule in rules:
        generator = torch.Generator().manual_seed(5)
        for parameter in rule.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.data.add_(0.3 * noise)
        following = rule(NETWORK, state, batch)
        outcomes.append(flatten(tensor for _, tensor in tensors_of(following)))
    assert (outcomes[0] - outcomes[1]).abs().max() > 1e-9
    assert getattr(rules[1].settings, name) == PAPER[name]


def test_recomputation_changes_no_gradient() -> None:
    rule, state, truncation = make_rule(), make_state(2), make_truncation(2, steps=3)
    kept, recomputed = (
        TruncatedBackprop(recompute=recompute)(rule, FewShotRidge(), state, truncation)
        for recompute in (False, True)
    )
    assert kept.gradient.abs().max() > 0
    assert torch.equal(kept.gradient, recomputed.gradient)


def test_gradient_stops_at_the_truncation() -> None:
    state = map_tensors(Tensor.requires_grad_, make_state(1))
    outcome = TruncatedBackprop()(make_rule(), FewShotRidge(), state, make_truncation(1, steps=2))
    assert all(tensor.grad is None for _, tensor in tensors_of(state))
    assert not any(tensor.requires_grad for _, tensor in tensors_of(tuple(outcome)))


def test_singular_regression_gives_nan_not_an_exception() -> None:
    params = make_state(2)["params"]
    broken = map_tensors(lambda p: torch.cat([p[:1] * torch.nan, p[1:]]), params)
    loss = FewShotRidge()(NETWORK, broken, make_truncation(2, steps=1).labelled).loss
    assert loss[0].isnan() and loss[1].isfinite()


def test_every_activation_runs() -> None:
    rule, state, (batch,) = make_rule(), make_state(1), make_truncation(1, steps=1).batches
    outcomes = [rule(MLP((5, 4, 3), name), state, batch) for name in ACTIVATIONS]
    assert all(p.isfinite().all() for outcome in outcomes for _, p in tensors_of(outcome))
    firsts = torch.stack([outcome["params"]["weights"][0] for outcome in outcomes])
    assert len(torch.unique(firsts.flatten(1), dim=0)) == len(ACTIVATIONS)


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (lambda: MLP((5,)), "sizes"),
        (lambda: MLP((5, 0, 3)), "sizes"),
        (lambda: MLP((5, 3), "gelu"), "gelu"),  # type: ignore[arg-type]
        (lambda: UpdateSettings(hebb="newest"), "newest"),  # type: ignore[arg-type]
        (lambda: UpdateSettings(planes=["hebb", "oja"]), "oja"),
        (lambda: UpdateSettings(hidden_channels=0), "hidden_channels"),
        (lambda: FewShotRidge(batches="newest"), "newest"),  # type: ignore[arg-type]
        (lambda: FewShotRidge(ridge=0.0), "ridge"),
    ],
)
def test_bad_settings_are_named(make: Any, culprit: str) -> None:
    with pytest.raises(InvalidInput, match=culprit):
        make()


def test_other_embedding_width_is_named() -> None:
    with pytest.raises(InvalidInput, match="4 units"):
        make_rule().check(MLP((5, 3, 4)))
