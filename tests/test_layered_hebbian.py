"""The layered Hebbian learner: what it reads out, what of θ matters, and its use and files."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler
from torch import Tensor

from lit_lul.apply.rule import apply_rule, write_applied
from lit_lul.apply.transformer import RuleTransformer
from lit_lul.apply.transformer_file import load_transformer, save_transformer
from lit_lul.files.phi import load_phi
from lit_lul.learners.learner import Batch
from lit_lul.learners.local.hebbian import HebbianSettings, HebbianState
from lit_lul.learners.local.layered_hebbian import LayeredHebbianRule
from lit_lul.networks.mlp import MLP
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Labelled

SIZES = (5, 4, 6, 6, 3)
NETWORK = MLP(SIZES)
ROWS = torch.rand(40, 5, generator=torch.Generator().manual_seed(1))
SETTINGS: dict[str, Any] = {"hidden_units": (4, 6), "inner_steps": 2, "batch_size": 8}


def make_rule() -> LayeredHebbianRule:
    """A rule in float64 with gains that differ."""
    rule = LayeredHebbianRule(HebbianSettings(embedding_units=3)).double()
    with torch.no_grad():
        rule.gains.copy_(torch.tensor([2.0, 3.0, 5.0, 7.0]))
    return rule


def start(rule: LayeredHebbianRule, network: MLP = NETWORK) -> HebbianState:
    return rule.start(network, 2, torch.Generator().manual_seed(4))


def rows(seed: int, n: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, n, 5, generator=generator, dtype=torch.float64)


def test_the_embedding_is_every_layer_by_its_gain() -> None:
    rule = make_rule()
    params, x = start(rule)["params"], rows(2)
    parts = NETWORK.embed(params, x).split(SIZES, dim=-1)
    layers = NETWORK.activations(params, x).x
    gains = [2.0, 3.0, 5.0 / math.sqrt(2), 5.0 / math.sqrt(2), 7.0]
    for part, layer, gain, width in zip(parts, layers, gains, SIZES, strict=True):
        torch.testing.assert_close(part, layer * gain / math.sqrt(width))


@pytest.mark.parametrize(("sizes", "gains"), [((5, 3), [2.0, 7.0]), ((5, 4, 3), [2.0, 3.0, 7.0])])
def test_shallow_networks_have_no_hidden_role(sizes: tuple[int, ...], gains: list[float]) -> None:
    readout = start(make_rule(), MLP(sizes))["params"]["readout"]
    assert readout.tolist() == [gains, gains]


def test_every_gain_and_sharpness_has_a_gradient() -> None:
    rule = make_rule()
    state = start(rule)
    y = torch.eye(2, dtype=torch.float64)[torch.arange(8) % 2].expand(1, 2, 8, 2)
    for seed in (5, 6):
        state = rule(NETWORK, state, Batch(rows(seed)))
    columns = torch.ones(2, 2, dtype=torch.bool)
    labelled = Labelled(rows(7)[None], y, rows(8)[None], y, columns, columns)
    loss = FewShotRidge()(NETWORK, state["params"], labelled).loss.sum()
    for gradient in torch.autograd.grad(loss, [rule.gains, rule.sharpness]):
        assert (gradient.abs() > 0).all()


def test_a_sharper_competition_has_fewer_winners() -> None:
    rule, outcomes = make_rule(), []
    for sharpness in (-3.0, 3.0):
        with torch.no_grad():
            rule.sharpness.fill_(sharpness)
        outcomes.append(rule.step(NETWORK, start(rule), Batch(rows(2)))["params"]["weights"][0])
    assert not torch.allclose(outcomes[0], outcomes[1])


def test_a_quarter_of_the_first_layer_are_components() -> None:
    rule, network = make_rule(), MLP((5, 8, 6, 3))
    assert rule.populations(0, 3, 8) == [(2, slice(0, 2)), (0, slice(2, 8))]
    assert rule.populations(1, 3, 6) == [(1, slice(0, 6))]
    assert rule.populations(0, 1, 3) == [(2, slice(0, 3))]
    state = start(rule, network)
    with torch.no_grad():
        before = rule.step(network, state, Batch(rows(2)))["params"]["weights"]
        rule.inputs[0] += 1  # of clusters alone
        after = rule.step(network, state, Batch(rows(2)))["params"]["weights"]
    assert torch.equal(before[0][..., :2], after[0][..., :2])
    assert not torch.isclose(before[0][..., 2:], after[0][..., 2:]).all(-2).any()
    assert torch.equal(before[2], after[2])


def test_applied_rows_are_read_out_in_their_own_order(tmp_path: Path) -> None:
    rule = LayeredHebbianRule(HebbianSettings(embedding_units=3))
    applied = apply_rule(rule, ROWS, **SETTINGS)
    assert applied.embeddings.shape == (40, 5 + 4 + 6 + 3)
    own = applied.embeddings[:, :5]
    torch.testing.assert_close(own, ROWS * float(rule.gains[0]) / math.sqrt(5))
    _, phi = write_applied(applied, tmp_path)
    network, params, statistics = load_phi(phi)
    torch.testing.assert_close(network.embed(params, ROWS[None], statistics)[0], applied.embeddings)


def test_transformers_know_their_features_and_come_back(tmp_path: Path) -> None:
    rule = LayeredHebbianRule(HebbianSettings(embedding_units=3))
    transformer = RuleTransformer(rule, n_networks=2, random_state=0, **SETTINGS)
    transformer.fit(ROWS.numpy())
    features = transformer.transform(ROWS.numpy())
    assert features.shape == (40, 2 * 18)
    assert len(transformer.get_feature_names_out()) == 36
    for own in np.split(features, 2, axis=1):  # one norm, on the scale of scikit-learn's defaults
        norm = np.square(own - own.mean(0)).sum(1).mean() ** 0.5
        assert norm == pytest.approx(4.0, rel=1e-4)
    scaled = torch.from_numpy(MinMaxScaler().fit_transform(ROWS.numpy()))
    applied = apply_rule(rule, scaled, **SETTINGS, seed=0).embeddings.numpy()
    factor = np.linalg.norm(features[:, :18]) / np.linalg.norm(applied)
    np.testing.assert_allclose(features[:, :18], factor * applied, atol=1e-4)
    transformer.rule = "layered"
    save_transformer(transformer, tmp_path / "t.safetensors")
    loaded = load_transformer(tmp_path / "t.safetensors")
    assert np.array_equal(loaded.transform(ROWS.numpy()), features)
