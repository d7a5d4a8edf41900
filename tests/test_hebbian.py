"""The Hebbian learner: its gradient, tasks apart, bounded steps, and what its terms find."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch
from lit_lul.learners.local.hebbian import ROLES, HebbianRule, HebbianSettings, HebbianState
from lit_lul.learners.local.hebbian_signals import SIGNALS, Unit
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
    state: HebbianState = map_tensors(
        lambda p: 10 * p, rule.start(NETWORK, tasks, generator) | {"age": torch.ones(tasks)}
    )
    return state, torch.rand(steps, tasks, 6, 5, generator=generator, dtype=torch.float64)


def alone(rule: HebbianRule, **coefficients: list[float]) -> HebbianRule:
    """The rule with these coefficients alone, in all roles, and steps that do not shrink."""
    with torch.no_grad():
        for name, parameter in rule.named_parameters():
            parameter.copy_(torch.tensor(coefficients.get(name, [0.0])))
        rule.slowing.fill_(-torch.inf)
    return rule


def weights_of(**signals: float) -> list[float]:
    """Coefficients of the signals, in their order."""
    return [signals.get(name, 0.0) for name in SIGNALS]


def test_gradient() -> None:
    rule = make_rule()
    state, unlabelled = make_data(rule, tasks=2, steps=2)
    x = torch.rand(2, 1, 2, 8, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    y = torch.eye(2, dtype=torch.float64)[torch.arange(8) % 2].expand(1, 2, 8, 2)
    columns = torch.ones(2, 2, dtype=torch.bool)
    labelled = Labelled(x[0], y, x[1], y, columns, columns)

    names = [name for name, _ in rule.named_parameters()]

    def loss(*values: Tensor) -> Tensor:
        theta, after = dict(zip(names, values, strict=True)), state
        for batch in unlabelled:
            after = torch.func.functional_call(rule, theta, (NETWORK, after, Batch(batch)))
        return FewShotRidge()(NETWORK, after["params"], labelled).loss

    theta = tuple(p.detach().requires_grad_() for p in rule.parameters())
    assert torch.autograd.gradcheck(loss, theta, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_every_coefficient_of_every_role_matters() -> None:
    rule = make_rule()
    state, (x, *_) = make_data(rule, tasks=1, steps=1)
    after = rule.step(NETWORK, state, Batch(x))["params"]
    total = torch.stack([tensor.square().sum() for _, tensor in tensors_of(after)]).sum()
    names, parameters = zip(*rule.named_parameters(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(total, parameters), strict=True))
    feedback = list(SIGNALS).index("feedback")
    assert gradients["signals"][-1, feedback] == 0  # the last layer gets none
    gradients["signals"][-1, feedback] = 1
    for gradient in gradients.values():
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
    outcomes = [
        rule.step(NETWORK, state, Batch(batch))["params"]["weights"] for batch in (x, other)
    ]
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
    state["age"].zero_()
    after = rule.step(NETWORK, state, Batch(scale * x))
    for new, old in zip(after["params"]["weights"], state["params"]["weights"], strict=True):
        size = (new - old).square().mean(-2).sqrt()
        assert (size <= rule.settings.inner_rate * (1 + 1e-9)).all()
        assert size.max() > 0.5 * rule.settings.inner_rate


def test_biases_approach_those_of_their_layer() -> None:
    rule = make_rule()
    state, (x, *_) = make_data(rule, tasks=1, steps=1)
    with torch.no_grad():
        rule.slowing.fill_(-torch.inf)
        for _ in range(100):
            state = rule.step(NETWORK, state, Batch(x))
    for biases, expected in zip(state["params"]["biases"], rule.biases.detach(), strict=True):
        torch.testing.assert_close(biases, expected.expand_as(biases))


def test_steps_shrink_with_age() -> None:
    rule = make_rule()
    state, (x, *_) = make_data(rule, tasks=3, steps=1)
    state = map_tensors(lambda p: p[:1].expand_as(p), state)
    state["age"] = torch.tensor([0.0, 10.0, 100.0], dtype=torch.float64)
    after = rule.step(NETWORK, state, Batch(x[:1].expand_as(x)))
    assert after["age"].tolist() == [1.0, 11.0, 101.0]
    for new, old in zip(after["params"]["weights"], state["params"]["weights"], strict=True):
        sizes = (new - old).flatten(1).norm(dim=1)
        assert (sizes.diff() < 0).all()


def test_activity_of_one_unit_finds_the_first_principal_component() -> None:
    generator = torch.Generator().manual_seed(2)
    spread = torch.tensor([1.0, 3.0, 0.5, 1.5, 0.8], dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    x = torch.randn(1, 400, 5, generator=generator, dtype=torch.float64) * spread @ turn
    principal = torch.linalg.eigh(torch.cov(x[0].T)).eigenvectors[:, -1]
    network = MLP((5, 1), "identity")
    rule = HebbianRule(HebbianSettings(embedding_units=1)).double()
    # of inputs with their relative scales
    alone(rule, inputs=[1.0, 0.0], signals=weights_of(activity=1.0), decay=[0.5, 0.0])
    state = rule.start(network, 1, generator)

    def cosine() -> float:
        weight = state["params"]["weights"][0][0, :, 0]
        return abs(float(torch.cosine_similarity(weight, principal, dim=0)))

    before = cosine()
    with torch.no_grad():
        for _ in range(300):
            state = rule.step(network, state, Batch(x))
    assert before < 0.9
    assert cosine() > 0.999


def test_inhibition_keeps_units_apart() -> None:
    generator = torch.Generator().manual_seed(3)
    mixed = torch.randn(6, 8, generator=generator)
    x = torch.rand(1, 200, 6, generator=generator) @ mixed
    network = MLP((8, 6), "identity")
    correlations = []
    for inhibition in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0]):
        rule = HebbianRule(HebbianSettings(embedding_units=6, inner_rate=0.03))
        activity = weights_of(activity=1.0)
        alone(rule, inputs=[0.0, 1.0], signals=activity, inhibition=inhibition)
        state = rule.start(network, 1, torch.Generator().manual_seed(1))
        with torch.no_grad():
            for _ in range(200):
                state = rule.step(network, state, Batch(x))
            u = network.embed(state["params"], x)[0]
        off = torch.corrcoef(u.T) - torch.eye(6)
        correlations.append(float(off.abs().sum() / 30))
    assert correlations[0] > 0.9
    assert max(correlations[1:]) < 0.5 * correlations[0]


def test_competing_units_find_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(4, 10, generator=generator)
    members = torch.randint(4, (400,), generator=generator)
    x = (centres[members] + torch.randn(400, 10, generator=generator))[None]
    network = MLP((10, 4), "identity")
    rule = HebbianRule(HebbianSettings(embedding_units=4, inner_rate=0.1))
    competing = weights_of(competition=1.0)
    alone(rule, inputs=[1.0, 0.0], signals=competing, inhibition=[0.0, 1.0], decay=[0.5, 0.0])
    state = rule.start(network, 1, torch.Generator().manual_seed(5))
    with torch.no_grad():
        for _ in range(300):
            state = rule.step(network, state, Batch(x))
        winners = network.embed(state["params"], x)[0].argmax(-1)
    table = torch.zeros(4, 4).index_put_((members, winners), torch.ones(()), accumulate=True)
    assert table.max(1).values.sum() > 0.95 * len(members)
    assert len(set(table.argmax(1).tolist())) == 4


def test_signals_of_two_units_by_hand() -> None:
    z = torch.tensor([[[1.0, -1.0], [3.0, 1.0]]])  # standardised: -1 and 1 in both
    unit = Unit(torch.relu(z), z, torch.tensor([[[5.0, 6.0], [7.0, 8.0]]]))
    values = {name: signal(unit)[0].flatten().tolist() for name, signal in SIGNALS.items()}
    expected = {
        "activity": [1.0, 0.0, 3.0, 1.0],
        "threshold": [1 * (1 - 5.0), 0.0, 3 * (3 - 5.0), 1 * (1 - 0.5)],
        "competition": [1.0, 1.0, 1.0, 1.0],
        "cube": [-1.0, -1.0, 1.0, 1.0],
        "energy": [1.0, 1.0, 1.0, 1.0],
        "feedback": [5.0, 6.0, 7.0, 8.0],
    }
    assert values == {name: pytest.approx(value, rel=1e-3) for name, value in expected.items()}


def test_layers_of_a_role_share_coefficients() -> None:
    rule = make_rule()
    assert {len(p) for p in rule.parameters()} == {len(ROLES)}
    network = MLP((5, 4, 4, 4, 3), "tanh")
    state = rule.start(network, 1, torch.Generator().manual_seed(0))
    x = torch.rand(1, 6, 5, dtype=torch.float64)
    after = rule.step(network, state, Batch(x))["params"]["weights"]
    of_layers = [
        torch.autograd.grad(w.square().sum(), rule.signals, retain_graph=True)[0] for w in after
    ]
    touched = [[bool(row.any()) for row in gradient] for gradient in of_layers]
    first, hidden, last = ([role == name for role in ROLES] for name in ROLES)
    assert touched == [first, hidden, hidden, last]


def test_what_does_not_fit_is_named() -> None:
    rule = make_rule()
    rule.check(NETWORK)
    with pytest.raises(InvalidInput, match="4 units: HebbianRule expects 3"):
        rule.check(MLP((5, 4)))
    with pytest.raises(InvalidInput, match="embedding_units 0"):
        HebbianSettings(embedding_units=0)
    with pytest.raises(InvalidInput, match=r"inner_rate 0\.0"):
        replace(HebbianSettings(), inner_rate=0.0)
