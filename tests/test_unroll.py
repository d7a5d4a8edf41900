"""Gradients through rule, unroll and objective; tasks kept apart; recomputation."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.estimators.truncated_backprop import unroll
from lit_lul.learners.update_rule import RuleSettings, UnsupervisedUpdate
from lit_lul.learners.update_rule.settings import PRESETS
from lit_lul.networks.mlp import ACTIVATIONS, MLP, Phi
from lit_lul.objectives.few_shot_ridge import Labelled, MetaObjective, ObjectiveSettings

BASE_MODEL = MLP((5, 4, 3), activation="tanh")


def make_rule(preset: str, **settings: Any) -> UnsupervisedUpdate:
    """A tiny rule in float64 whose merge weights are large enough to matter."""
    torch.manual_seed(0)
    sizes: Any = {
        "hidden_channels": 4,
        "error_channels": 3,
        "top_channels": 3,
        "readout_channels": 2,
    }
    sizes |= {"embedding_units": 3, "inner_rate": 0.1} | settings
    return UnsupervisedUpdate(RuleSettings(preset=preset, **sizes)).double()


def make_data(tasks: int, steps: int, draws: int = 2) -> tuple[Phi, Tensor, Labelled]:
    """φ, unlabelled minibatches and labelled draws; the second task has no regression column."""
    generator = torch.Generator().manual_seed(4)
    phi = BASE_MODEL.init(tasks, generator, torch.float64).map(lambda p: 10 * p)
    unlabelled = torch.rand(steps, tasks, 6, 5, generator=generator, dtype=torch.float64)
    x = torch.rand(2, draws, tasks, 8, 5, generator=generator, dtype=torch.float64)
    y = torch.eye(2, dtype=torch.float64)[torch.arange(8) % 2].expand(draws, tasks, 8, 2)
    y = torch.cat([y, x[0, ..., :1]], dim=-1)
    is_class = torch.tensor([True, True, False]).repeat(tasks, 1)
    is_target = torch.ones(tasks, 3, dtype=torch.bool)
    is_target[1:, 2] = False
    return phi, unlabelled, Labelled(x[0], y, x[1], y, is_class, is_target)


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_gradcheck(preset: str) -> None:
    rule, objective = make_rule(preset), MetaObjective(ObjectiveSettings(preset=preset))
    phi, unlabelled, labelled = make_data(tasks=2, steps=2)
    names = [name for name, _ in rule.named_parameters()]

    def loss(*theta: Tensor) -> Tensor:
        with torch.random.fork_rng():
            step = _Functional(rule, dict(zip(names, theta, strict=True)))
            return unroll(step, objective, BASE_MODEL, phi, unlabelled, labelled, False).loss

    theta = tuple(p.detach().requires_grad_() for p in rule.parameters())
    assert torch.autograd.gradcheck(loss, theta, eps=1e-7, atol=1e-6, rtol=1e-4)


class _Functional(UnsupervisedUpdate):
    """The rule, called with other values of θ."""

    def __init__(self, rule: UnsupervisedUpdate, theta: dict[str, Tensor]) -> None:
        torch.nn.Module.__init__(self)
        self.rule, self.theta = [rule], theta

    def forward(self, base_model: MLP, phi: Phi, x: Tensor) -> Phi:
        result: Phi = torch.func.functional_call(self.rule[0], self.theta, (base_model, phi, x))
        return result


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_tasks_at_once_equal_tasks_alone(preset: str) -> None:
    rule, objective = make_rule(preset), MetaObjective(ObjectiveSettings(preset=preset))
    phi, unlabelled, labelled = make_data(tasks=3, steps=3)
    together = unroll(rule, objective, BASE_MODEL, phi, unlabelled, labelled)
    for task in range(3):
        one = slice(task, task + 1)
        alone = unroll(
            rule,
            objective,
            BASE_MODEL,
            # binds the loop variable; mypy cannot infer a lambda with a default
            phi.map(lambda p, one=one: p[one]),  # type: ignore[misc]
            unlabelled[:, one],
            Labelled(*(t[:, one] for t in labelled[:4]), *(t[one] for t in labelled[4:])),
        )
        torch.testing.assert_close(together.loss[one], alone.loss)
        torch.testing.assert_close(together.accuracy[one], alone.accuracy)
        for ours, theirs in zip(together.phi.weights, alone.phi.weights, strict=True):
            torch.testing.assert_close(ours[one], theirs)


def test_missing_columns_are_as_if_never_there() -> None:
    objective = MetaObjective()
    phi, _, labelled = make_data(tasks=2, steps=1)
    second = Labelled(
        *(t[:, 1:, :, :2] if i in (1, 3) else t[:, 1:] for i, t in enumerate(labelled[:4])),
        *(t[1:, :2] for t in labelled[4:]),
    )
    alone = objective(BASE_MODEL, phi.map(lambda p: p[1:]), second)
    torch.testing.assert_close(objective(BASE_MODEL, phi, labelled).loss[1:], alone.loss)


@pytest.mark.parametrize("name", PRESETS["paper"])
def test_every_difference_between_the_presets_is_a_setting_of_its_own(name: str) -> None:
    phi, unlabelled, _ = make_data(tasks=1, steps=1)
    rules = [make_rule("released"), make_rule("released", **{name: PRESETS["paper"][name]})]
    outcomes = []
    for rule in rules:
        generator = torch.Generator().manual_seed(5)
        for parameter in rule.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.data.add_(0.3 * noise)
        following = rule(BASE_MODEL, phi, unlabelled[0])
        outcomes.append(torch.cat([p.flatten() for group in following for p in group]))
    assert (outcomes[0] - outcomes[1]).abs().max() > 1e-9
    assert getattr(rules[1].settings, name) == PRESETS["paper"][name]


def test_recomputation_changes_no_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        rule = make_rule("released")
        phi, unlabelled, labelled = make_data(tasks=2, steps=3)
        result = unroll(rule, MetaObjective(), BASE_MODEL, phi, unlabelled, labelled, recompute)
        result.loss.sum().backward()
        gradients.append([p.grad for p in rule.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        assert kept is not None and recomputed is not None
        assert torch.equal(kept, recomputed)


def test_gradient_stops_at_the_truncation() -> None:
    rule = make_rule("released")
    phi, unlabelled, labelled = make_data(tasks=1, steps=2)
    phi = phi.map(lambda p: p.requires_grad_())
    result = unroll(rule, MetaObjective(), BASE_MODEL, phi, unlabelled, labelled)
    result.loss.sum().backward()
    assert all(p.grad is None for group in phi for p in group)
    assert not any(p.requires_grad for group in result.phi for p in group)


def test_singular_regression_gives_nan_not_an_exception() -> None:
    phi, _, labelled = make_data(tasks=2, steps=1)
    broken = phi.map(lambda p: torch.cat([p[:1] * torch.nan, p[1:]]))
    loss = MetaObjective()(BASE_MODEL, broken, labelled).loss
    assert loss[0].isnan() and loss[1].isfinite()


def test_every_activation_runs() -> None:
    rule = make_rule("released")
    phi, unlabelled, _ = make_data(tasks=1, steps=1)
    outcomes = [rule(MLP((5, 4, 3), name), phi, unlabelled[0]) for name in ACTIVATIONS]
    assert all(p.isfinite().all() for outcome in outcomes for group in outcome for p in group)
    firsts = torch.stack([outcome.weights[0] for outcome in outcomes])
    assert len(torch.unique(firsts.flatten(1), dim=0)) == len(ACTIVATIONS)


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (lambda: MLP((5,)), "sizes"),
        (lambda: MLP((5, 0, 3)), "sizes"),
        (lambda: MLP((5, 3), "gelu"), "gelu"),
        (lambda: RuleSettings(preset="newest"), "newest"),
        (lambda: RuleSettings(planes=["hebb", "oja"]), "oja"),
        (lambda: RuleSettings(hidden_channels=0), "hidden_channels"),
        (lambda: ObjectiveSettings(preset="newest"), "newest"),
        (lambda: ObjectiveSettings(ridge=0.0), "ridge"),
    ],
)
def test_bad_settings_are_named(make: Any, culprit: str) -> None:
    with pytest.raises(InvalidInput, match=culprit):
        make()


def test_other_embedding_width_is_named() -> None:
    rule, (phi, unlabelled, _) = make_rule("released"), make_data(1, 1)
    with pytest.raises(InvalidInput, match="4 units"):
        rule(MLP((5, 3, 4)), phi, unlabelled[0])
