"""Local rules: their terms, settings and readout, and the embeddings of the shipped ones."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from lit_lul import apply_rule, load_rule
from lit_lul.errors import InvalidInput
from lit_lul.learners import Batch, LocalRule, LocalSettings
from lit_lul.learners.local.rule import ROLES, LocalState
from lit_lul.learners.local.terms import TERMS, Synapses, term, towards_components
from lit_lul.networks.mlp import MLP
from lit_lul.networks.network import Readout
from lit_lul.trees import map_tensors

NETWORK = MLP((5, 4, 4, 3), "tanh")
GOLDEN = Path(__file__).parent / "golden" / "local_rules.npz"
DIGITS = torch.from_numpy(load_digits().data[:300] / 16)
RANDOM = torch.from_numpy(np.random.default_rng(7).random((120, 12)))
GOLDEN_ROWS: dict[str, Any] = {
    "digits": (DIGITS, {"hidden_units": (24, 16), "batch_size": 64}),
    "random": (RANDOM, {"hidden_units": (10, 8, 8), "batch_size": 32}),
}


@pytest.mark.parametrize("rule", ["broad", "layered", "competitive"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_shipped_rules_embed_as_they_always_did(rule: str, dtype: torch.dtype) -> None:
    """Embeddings of 300 digits and of 120 random rows, as two weighted sums of their columns."""
    tolerance = 1e-11 if dtype == torch.float64 else 1e-4
    compared = 0
    for name, expected in np.load(GOLDEN).items():
        named, rows, steps, precision = name.split("-")
        if (named, f"torch.{precision}") == (rule, str(dtype)):
            x, options = GOLDEN_ROWS[rows]
            learner = load_rule(rule).to(dtype)
            applied = apply_rule(learner, x.to(dtype), inner_steps=int(steps), **options)
            columns = applied.embeddings.shape[1]
            weights = np.random.default_rng(columns).standard_normal((columns, 2)) / columns**0.5
            found = applied.embeddings.double().numpy() @ weights
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=name)
            compared += 1
    assert compared >= 4


def make_rule(**settings: Any) -> LocalRule:
    """A rule in float64 whose coefficients all matter."""
    settings = {"embedding_units": 3, "inner_rate": 0.3} | settings
    rule = LocalRule(LocalSettings(**settings)).double()
    generator = torch.Generator().manual_seed(5)
    for parameter in rule.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data.add_(0.3 * noise)
    return rule


def alone(units: int, inner_rate: float = 0.1, **coefficients: float) -> LocalRule:
    """A rule of these terms alone, in all layers, whose steps do not shrink."""
    population = {**coefficients, "slowing": -math.inf}
    return LocalRule(LocalSettings(units, inner_rate, populations={"all": population}))


def rows(seed: int, tasks: int = 1, n: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(tasks, n, 5, generator=generator, dtype=torch.float64)


def start(rule: LocalRule, tasks: int = 1, network: MLP = NETWORK) -> LocalState:
    """A state after one step, whose weights are not small."""
    state = rule.start(network, tasks, torch.Generator().manual_seed(4))
    weights = map_tensors(lambda w: 10 * w, state["params"]["weights"])
    return {"params": {**state["params"], "weights": weights}, "age": state["age"] + 1}


def train(rule: LocalRule, network: MLP, x: Tensor, steps: int, seed: int = 1) -> LocalState:
    state = rule.start(network, 1, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for _ in range(steps):
            state = rule(network, state, Batch(x))
    return state


def synapses(below: Tensor, weight: Tensor, potential: Tensor | None = None) -> Synapses:
    """The synapses of linear units, or of rectified ones with a potential."""
    z = below @ weight if potential is None else potential
    x = z if potential is None else z.relu()
    sharpness = z.new_tensor(2.0)
    return Synapses(below, x, z, torch.arange(5.0, 5 + z.numel()).view_as(z), weight, sharpness)


def test_signals_of_two_units_by_hand() -> None:
    z = torch.tensor([[[1.0, -1.0], [3.0, 1.0]]])  # standardised: -1 and 1 in both
    unit = synapses(torch.rand(1, 2, 3), torch.rand(1, 3, 2), z)
    signals = {name: function for name, (kind, function) in TERMS.items() if kind == "signal"}
    values = {name: signal(unit)[0].flatten().tolist() for name, signal in signals.items()}
    expected = {
        "hebb": [1.0, 0.0, 3.0, 1.0],
        "bcm": [1 * (1 - 5.0), 0.0, 3 * (3 - 5.0), 1 * (1 - 0.5)],
        "competition": [1.0, 1.0, 1.0, 1.0],
        "cube": [-1.0, -1.0, 1.0, 1.0],
        "energy": [1.0, 1.0, 1.0, 1.0],
        "feedback": [5.0, 6.0, 7.0, 8.0],
    }
    assert values == {name: pytest.approx(value, rel=1e-3) for name, value in expected.items()}


def test_other_terms_by_hand() -> None:
    below, w = rows(1, n=50), rows(2, n=3).mT
    seen = synapses(below, w)
    value = {name: TERMS[name][1](seen)[0] for name in TERMS}
    c = torch.corrcoef(seen.activity[0].T) - torch.eye(3)
    torch.testing.assert_close(value["inhibition"], c / math.sqrt(3), rtol=0, atol=0.01)
    torch.testing.assert_close(value["strong_inhibition"], c * c.abs(), rtol=0, atol=0.01)
    torch.testing.assert_close(value["decay"], -w[0])
    torch.testing.assert_close(value["strong_decay"], -w[0] * w[0].abs())
    std = below[0].std(0, correction=0)
    torch.testing.assert_close(value["standard"].std(0), torch.ones(5).double(), rtol=0, atol=0.02)
    ratio = value["relative"].std(0) / std
    torch.testing.assert_close(ratio, ratio[:1].expand(5))


def test_a_change_is_a_bounded_sum_of_three_products() -> None:
    coefficients = {"relative": 0.7, "hebb": 0.3, "energy": -0.4, "inhibition": 0.2, "decay": 0.6}
    rule, network = alone(3, 0.3, **coefficients).double(), MLP((5, 3), "identity")
    state, x = start(rule, network=network), rows(2)
    (w,), z = state["params"]["weights"], network.activations(state["params"], x).z[1]
    seen = synapses(x, w, z)
    seen.activity = z

    def standard(s: Tensor) -> Tensor:
        return (s - s.mean(-2)) / (s.var(-2, correction=0) + 1e-4).sqrt()

    signal = 0.3 * standard(z) - 0.4 * standard(standard(z) ** 2)
    update = 0.7 * TERMS["relative"][1](seen).mT @ signal / 8
    scaled = w / (w.square().mean(-2, keepdim=True) + 1e-4).sqrt()
    update = update - scaled @ (0.2 * TERMS["inhibition"][1](seen)) - 0.6 * w
    update = 0.3 * update / (1 + update.square().mean(-2, keepdim=True)).sqrt()
    after = rule.step(network, state, Batch(x))["params"]["weights"][0]
    torch.testing.assert_close(after, w + update)


def test_every_coefficient_of_every_population_matters() -> None:
    rule = make_rule(gains=[1.0, 2.0, 3.0, 4.0])
    network = rule.network_for(NETWORK)
    state = rule.step(network, start(rule, network=NETWORK), Batch(rows(3)))
    total = network.embed(state["params"], rows(4)).square().sum()
    for name, gradient in zip(
        dict(rule.named_parameters()),
        torch.autograd.grad(total, list(rule.parameters())),
        strict=True,
    ):
        names = sorted(rule.settings.populations.get(name.removeprefix("coefficients."), ()))
        unused = [names.index("feedback")] if name.endswith("last") else []
        assert gradient[unused].eq(0).all()  # the last layer gets none
        gradient[unused] = 1
        assert (gradient.abs() > 1e-9).all(), name


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_no_step_exceeds_the_inner_rate(scale: float) -> None:
    rule = make_rule()
    with torch.no_grad():
        for parameter in rule.parameters():
            parameter.mul_(1e3)
    state = start(rule, tasks=2)
    state["age"].zero_()
    after = rule.step(NETWORK, state, Batch(scale * rows(2, tasks=2)))
    for new, old in zip(after["params"]["weights"], state["params"]["weights"], strict=True):
        size = (new - old).square().mean(-2).sqrt()
        assert (size <= rule.settings.inner_rate * (1 + 1e-9)).all()
        assert size.max() > 0.5 * rule.settings.inner_rate


def test_biases_approach_those_of_their_population() -> None:
    biases = {"first": 0.5, "hidden": 1.5, "last": -1.0}
    populations = {name: {"bias": b, "slowing": -math.inf} for name, b in biases.items()}
    rule = LocalRule(LocalSettings(3, populations=populations))
    state = train(rule, NETWORK, rows(2).float(), steps=150)
    for found, expected in zip(state["params"]["biases"], biases.values(), strict=True):
        torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0, atol=1e-4)


def test_steps_shrink_with_age() -> None:
    rule = make_rule()
    state = map_tensors(lambda p: p[:1].expand(3, *p.shape[1:]), start(rule))
    state["age"] = torch.tensor([0.0, 10.0, 100.0], dtype=torch.float64)
    after = rule.step(NETWORK, state, Batch(rows(2).expand(3, -1, -1)))
    assert after["age"].tolist() == [1.0, 11.0, 101.0]
    for new, old in zip(after["params"]["weights"], state["params"]["weights"], strict=True):
        assert ((new - old).flatten(1).norm(dim=1).diff() < 0).all()


@pytest.mark.parametrize("terms", [{"hebb": 1.0, "decay": 0.5}, {"sanger": 1.0}])
def test_one_unit_finds_the_first_principal_component(terms: dict[str, float]) -> None:
    generator = torch.Generator().manual_seed(2)
    spread = torch.tensor([1.0, 3.0, 0.5, 1.5, 0.8])
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator))
    x = torch.randn(1, 400, 5, generator=generator) * spread @ turn
    principal = torch.linalg.eigh(torch.cov(x[0].T)).eigenvectors[:, -1]
    network = MLP((5, 1), "identity")
    cosines = [
        abs(float(torch.cosine_similarity(state["params"]["weights"][0][0, :, 0], principal, 0)))
        for state in (train(alone(1, **terms), network, x, steps) for steps in (0, 300))
    ]
    assert cosines[0] < 0.9 and cosines[1] > 0.999


def test_components_come_in_their_order() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1, 500, 4, generator=generator) * torch.tensor([1.0, 3.0, 2.0, 0.5])
    x = x - x.mean(1, keepdim=True)
    w = torch.randn(1, 4, 2, generator=generator)
    for _ in range(500):
        w = w + 0.05 * towards_components(x, w)
    torch.testing.assert_close(w[0].abs(), torch.eye(4)[:, 1:3], rtol=0, atol=0.1)


def test_inhibition_keeps_units_apart() -> None:
    generator = torch.Generator().manual_seed(3)
    mixed = torch.randn(6, 8, generator=generator)
    x = torch.rand(1, 200, 6, generator=generator) @ mixed
    network, correlations = MLP((8, 6), "identity"), []
    for inhibition in ({}, {"inhibition": 1.0}, {"strong_inhibition": 1.0}):
        rule = alone(6, 0.03, standard=1.0, hebb=1.0, **inhibition)
        u = network.embed(train(rule, network, x, steps=200)["params"], x)[0]
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
    rule = alone(4, competition=1.0, strong_inhibition=1.0, decay=0.5)
    winners = network.embed(train(rule, network, x, 300, seed=5)["params"], x)[0].argmax(-1)
    table = torch.zeros(4, 4).index_put_((members, winners), torch.ones(()), accumulate=True)
    assert table.max(1).values.sum() > 0.95 * len(members)
    assert len(set(table.argmax(1).tolist())) == 4


def test_layers_of_a_role_share_coefficients() -> None:
    rule, network = make_rule(), MLP((5, 4, 4, 4, 3), "tanh")
    after = rule.step(network, start(rule, network=network), Batch(rows(2)))["params"]["weights"]
    coefficients = [rule.coefficients[role] for role in ROLES]
    touched = []
    for w in after:
        gradients = torch.autograd.grad(
            w.square().sum(), coefficients, retain_graph=True, materialize_grads=True
        )
        touched.append([bool(gradient.any()) for gradient in gradients])
    first, hidden, last = ([role == name for role in ROLES] for name in ROLES)
    assert touched == [first, hidden, hidden, last]


def test_populations_of_a_layer_learn_by_themselves() -> None:
    layers = {"first": {"last": 0.25, "first": 0.75}}
    rule, network = make_rule(layers=layers), MLP((5, 8, 6, 3), "tanh")
    assert rule.parts(0, 3, 8) == [("last", slice(0, 2)), ("first", slice(2, 8))]
    assert rule.parts(1, 3, 6) == [("hidden", slice(0, 6))]
    assert rule.parts(0, 1, 3) == [("last", slice(0, 3))]
    state = start(rule, network=network)
    with torch.no_grad():
        before = rule.step(network, state, Batch(rows(2)))["params"]["weights"]
        rule.coefficients["first"][0] += 1
        after = rule.step(network, state, Batch(rows(2)))["params"]["weights"]
    assert torch.equal(before[0][..., :2], after[0][..., :2])
    assert not torch.isclose(before[0][..., 2:], after[0][..., 2:]).all(-2).any()
    assert torch.equal(before[2], after[2])


@pytest.mark.parametrize(
    ("hidden", "gains"),
    [((), (2, 7)), ((4,), (2, 3, 7)), ((4, 6, 6), (2, 3, 5 / 2**0.5, 5 / 2**0.5, 7))],
)
def test_the_embedding_is_every_layer_by_its_gain(
    hidden: tuple[int, ...], gains: tuple[float, ...]
) -> None:
    rule = LocalRule(LocalSettings(3, gains=[2.0, 3.0, 5.0, 7.0])).double()
    network = rule.network_for(MLP((5, *hidden, 3)))
    assert isinstance(network, MLP) and network.readout is Readout.ALL
    params, x = start(rule, 2, network)["params"], rows(2, tasks=2)
    layers = network.activations(params, x).x
    parts = network.embed(params, x).split(network.sizes, dim=-1)
    for part, layer, gain in zip(parts, layers, gains, strict=True):
        torch.testing.assert_close(part, layer * gain / math.sqrt(layer.shape[-1]))


def test_a_rule_of_two_terms_is_settings_alone() -> None:
    settings = LocalSettings(3, populations={"all": {"hebb": 1, "decay": 0.5}})
    rule = LocalRule(settings).double()
    assert [(name, p.tolist()) for name, p in rule.named_parameters()] == [
        ("coefficients.all", [0.5, 1.0])
    ]
    state = start(rule)
    after = rule.step(NETWORK, state, Batch(rows(2)))["params"]["weights"]
    assert all((a != b).all() for a, b in zip(after, state["params"]["weights"], strict=True))


def test_a_term_of_ones_own_is_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMS, "growth", TERMS["decay"])  # removed after the test

    @term("weight")
    def growth(synapses: Synapses) -> Tensor:
        return synapses.weight

    rule = alone(3, growth=1e-6).double()
    state = start(rule)
    after = rule.step(NETWORK, state, Batch(rows(2)))["params"]["weights"]
    for new, old in zip(after, state["params"]["weights"], strict=True):
        torch.testing.assert_close(new, old * (1 + 1e-7))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embedding_units": 0}, "LocalSettings.embedding_units must be at least 1, got 0"),
        ({"inner_rate": 0.0}, "inner_rate must be above 0"),
        ({"populations": {"all": {"hebbs": 1.0}}}, "population all: unknown hebbs, expected"),
        ({"populations": {}}, "populations must not be empty"),
        ({"layers": {"top": {"last": 1.0}}}, "layers: unknown top, expected some of first"),
        ({"layers": {"last": {"top": 1.0}}}, "layers last: unknown top, expected some of first"),
        ({"layers": {"last": {"last": 0.5}}}, "layers last: shares must .* add up to 1, got 0.5"),
        ({"populations": {"a": {"hebb": 1.0}, "b": {}}}, "layers first: unknown first"),
        ({"gains": [1.0]}, "LocalSettings.gains must be of length 4 to 4, got"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        LocalSettings(**settings)
    assert "\n" not in str(raised.value)
