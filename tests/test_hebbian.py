"""The Hebbian learner: its gradient, tasks apart, bounded steps, and what its terms find."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.learners.hebbian import (
    INITIAL,
    ROLES,
    HebbianRule,
    HebbianSettings,
    HebbianState,
    role_of,
)
from lit_lul.learners.hebbian_terms import BIAS_TERMS, TERMS, Synapses
from lit_lul.learners.learner import Batch
from lit_lul.networks.mlp import MLP
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Labelled
from lit_lul.trees import map_tensors, tensors_of

NETWORK = MLP((5, 4, 4, 3), "tanh")


def make_rule(**settings: Any) -> HebbianRule:
    """A rule in float64 whose terms all matter."""
    rule = HebbianRule(HebbianSettings(embedding_units=3, inner_rate=0.3, **settings)).double()
    generator = torch.Generator().manual_seed(5)
    for parameter in rule.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data.add_(0.3 * noise)
    return rule


def make_data(rule: HebbianRule, tasks: int, steps: int) -> tuple[HebbianState, Tensor]:
    """A state and minibatches (U, T, B, N_0)."""
    generator = torch.Generator().manual_seed(4)
    state: HebbianState = map_tensors(lambda p: 10 * p, rule.start(NETWORK, tasks, generator))
    return state, torch.rand(steps, tasks, 6, 5, generator=generator, dtype=torch.float64)


def alone(rule: HebbianRule, weights: dict[str, float]) -> HebbianRule:
    """The rule with these terms of the weights alone, in all roles."""
    with torch.no_grad():
        rule.weights.copy_(torch.tensor([weights.get(name, 0.0) for name in TERMS]))
        rule.biases.zero_()
    return rule


def test_gradient() -> None:
    rule = make_rule()
    state, unlabelled = make_data(rule, tasks=2, steps=2)
    x = torch.rand(2, 1, 2, 8, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    y = torch.eye(2, dtype=torch.float64)[torch.arange(8) % 2].expand(1, 2, 8, 2)
    columns = torch.ones(2, 2, dtype=torch.bool)
    labelled = Labelled(x[0], y, x[1], y, columns, columns)

    def loss(weights: Tensor, biases: Tensor) -> Tensor:
        theta, after = {"weights": weights, "biases": biases}, state
        for batch in unlabelled:
            after = torch.func.functional_call(rule, theta, (NETWORK, after, Batch(batch)))
        return FewShotRidge()(NETWORK, after["params"], labelled).loss

    theta = tuple(p.detach().requires_grad_() for p in rule.parameters())
    assert torch.autograd.gradcheck(loss, theta, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_every_coefficient_of_every_role_matters() -> None:
    rule = make_rule()
    state, (x, *_) = make_data(rule, tasks=1, steps=1)
    after = rule.step(NETWORK, state, Batch(x))
    total = torch.stack([tensor.square().sum() for _, tensor in tensors_of(after)]).sum()
    for gradient in torch.autograd.grad(total, list(rule.parameters())):
        assert (gradient.abs() > 1e-9).all()


def test_tasks_at_once_equal_tasks_alone() -> None:
    rule = make_rule()
    state, (x, *_) = make_data(rule, tasks=3, steps=1)
    together = rule.step(NETWORK, state, Batch(x))
    for task in range(3):
        one = slice(task, task + 1)
        # binds the loop variable; mypy cannot infer a lambda with a default
        part = map_tensors(lambda p, one=one: p[one], state)  # type: ignore[misc]
        separate = rule.step(NETWORK, part, Batch(x[one]))
        for (_, ours), (_, theirs) in zip(tensors_of(together), tensors_of(separate), strict=True):
            torch.testing.assert_close(ours[one], theirs)


def test_a_task_does_not_change_another() -> None:
    rule = make_rule()
    state, (x, *_) = make_data(rule, tasks=2, steps=1)
    other = x.clone()
    other[1] += 1 + other[1].square()
    outcomes = [rule.step(NETWORK, state, Batch(batch)) for batch in (x, other)]
    for (_, ours), (_, theirs) in zip(*map(tensors_of, outcomes), strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert not torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_no_step_exceeds_the_inner_rate(scale: float) -> None:
    rule = make_rule()
    with torch.no_grad():
        for parameter in rule.parameters():
            parameter.mul_(1e3)
    state, (x, *_) = make_data(rule, tasks=2, steps=1)
    after = rule.step(NETWORK, state, Batch(scale * x))
    for group, dim in (("weights", -2), ("biases", -1)):
        pairs = zip(after["params"][group], state["params"][group], strict=True)  # type: ignore[literal-required]
        for new, old in pairs:
            size = (new - old).square().mean(dim).sqrt()
            assert (size <= rule.settings.inner_rate * (1 + 1e-9)).all()
            assert size.max() > 0.5 * rule.settings.inner_rate


def test_oja_of_one_unit_finds_the_first_principal_component() -> None:
    generator = torch.Generator().manual_seed(2)
    spread = torch.tensor([1.0, 3.0, 0.5, 1.5, 0.8], dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    x = torch.randn(1, 400, 5, generator=generator, dtype=torch.float64) * spread @ turn
    principal = torch.linalg.eigh(torch.cov(x[0].T)).eigenvectors[:, -1]
    network = MLP((5, 1), "identity")
    rule = alone(HebbianRule(HebbianSettings(embedding_units=1, inner_rate=0.1)), {"oja": 1.0})
    state = rule.double().start(network, 1, generator)
    state["params"]["biases"][0].zero_()

    def cosine() -> float:
        weight = state["params"]["weights"][0][0, :, 0]
        return abs(float(torch.cosine_similarity(weight, principal, dim=0)))

    before = cosine()
    with torch.no_grad():
        for _ in range(300):
            state = rule.step(network, state, Batch(x))
    assert before < 0.9
    assert cosine() > 0.999
    # u has mean square 1 behind the batch norm, which leaves the weight at √λ
    norm = state["params"]["weights"][0].norm()
    largest = torch.linalg.eigvalsh(torch.cov(x[0].T, correction=0))[-1]
    torch.testing.assert_close(norm.square(), largest, rtol=1e-3, atol=0)


def test_decorrelation_keeps_units_apart() -> None:
    generator = torch.Generator().manual_seed(3)
    mixed = torch.randn(6, 8, generator=generator)
    x = torch.rand(1, 200, 6, generator=generator) @ mixed
    network = MLP((8, 6), "identity")
    correlations = []
    for terms in ({"correlation": 1.0}, {"correlation": 1.0, "decorrelation": 1.0}):
        rule = alone(HebbianRule(HebbianSettings(embedding_units=6)), terms)
        state = rule.start(network, 1, torch.Generator().manual_seed(1))
        with torch.no_grad():
            for _ in range(200):
                state = rule.step(network, state, Batch(x))
            u = network.embed(state["params"], x)[0]
        off = torch.corrcoef(u.T) - torch.eye(6)
        correlations.append(float(off.abs().sum() / 30))
    assert correlations[0] > 0.9
    assert correlations[1] < 0.5 * correlations[0]


def test_terms_of_two_units_by_hand() -> None:
    v = torch.tensor([[[1.0], [3.0]]])
    u = torch.tensor([[[2.0, 0.0], [4.0, 1.0]]])
    w = torch.tensor([[[0.5, -2.0]]])
    values = {name: term(Synapses(v, u, w)).squeeze().tolist() for name, term in TERMS.items()}
    expected = {
        "hebb": [7.0, 1.5],
        "covariance": [1.0, 0.5],
        "correlation": [1.0, 1.0],
        "oja": [7.0 - 0.5 * 10.0, 1.5 + 2.0 * 0.5],
        "bcm": [(1 * 2 * (2 - 10) + 3 * 4 * (4 - 10)) / 2, 3 * 1 * (1 - 0.5) / 2],
        "instar": [7.0 - 0.5 * 3.0, 1.5 + 2.0 * 0.5],
        "outstar": [7.0 - 0.5 * 2.0, 1.5 + 2.0 * 2.0],
        "decorrelation": [1 / 2**0.5, -1 / 2**0.5],
        "decay": [-0.5, 2.0],
        "large_decay": [-0.25, 4.0],
    }
    assert values == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_roles_and_the_start_of_theta() -> None:
    assert [ROLES[role_of(i, 4)] for i in range(4)] == ["first", "hidden", "hidden", "last"]
    assert ROLES[role_of(0, 1)] == "last"
    rule = HebbianRule()
    assert rule.weights.shape == (3, len(TERMS)) and rule.biases.shape == (3, len(BIAS_TERMS))
    start = dict(zip(TERMS, rule.weights[0].tolist(), strict=True))
    assert {k: pytest.approx(v) for k, v in start.items() if v} == INITIAL


def test_what_does_not_fit_is_named() -> None:
    rule = make_rule()
    rule.check(NETWORK)
    with pytest.raises(InvalidInput, match="4 units: HebbianRule expects 3"):
        rule.check(MLP((5, 4)))
    with pytest.raises(InvalidInput, match="embedding_units 0"):
        HebbianSettings(embedding_units=0)
    with pytest.raises(InvalidInput, match=r"inner_rate 0\.0"):
        replace(HebbianSettings(), inner_rate=0.0)
