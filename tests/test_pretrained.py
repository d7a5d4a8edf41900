"""Rules that ship with the package: found by name, each with a card, each small."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refused
from mean_rule import mean_rule

from lit_lul.errors import InvalidInput
from lit_lul.files.publish import read_card
from lit_lul.files.theta import (
    PRETRAINED,
    available_learners,
    available_rules,
    load_learner,
    load_rule,
    save_learner,
)
from lit_lul.learners.learner import Batch
from lit_lul.learners.metz import UnsupervisedUpdate, UpdateSettings
from lit_lul.learners.metz.algorithm import UpdateState
from lit_lul.networks.mlp import MLP

LARGEST = 1_000_000
"""Bytes of a file that ships."""
ARRAYS = dict(np.load(Path(__file__).parent / "golden" / "shipped.npz"))
"""What the rules made of a few inner steps on the day they shipped (see golden/README.md)."""


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UnsupervisedUpdate:
    """A rule that seems to ship under the name "tiny", beside one named "other"."""
    monkeypatch.setattr("lit_lul.files.theta.PRETRAINED", tmp_path)
    torch.manual_seed(3)
    settings = UpdateSettings(
        hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6
    )
    rule = UnsupervisedUpdate(settings)
    for name in ("tiny", "other"):
        save_learner(rule, tmp_path / f"{name}.safetensors")
    (tmp_path / "tiny.md").write_text("a card")
    return rule


def test_a_name_is_a_rule_that_ships(
    shipped: UnsupervisedUpdate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert available_rules() == ["other", "tiny"]
    monkeypatch.chdir("/")
    for name in ("tiny", Path("tiny"), tmp_path / "tiny.safetensors"):
        loaded = load_rule(name)
        assert loaded.settings == shipped.settings
        theta = loaded.state_dict()
        assert all(torch.equal(theta[k], tensor) for k, tensor in shipped.state_dict().items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none_such", r"none_such: .* one of the rules that ship: other, tiny"),
        ("a/folder/tiny", r"a/folder/tiny: expected a safetensors file"),
        ("tiny.safetensors", r"tiny\.safetensors: expected a safetensors file"),
    ],
)
@pytest.mark.usefixtures("shipped")
def test_what_is_neither_name_nor_file_is_named(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    with refused(message):
        load_rule(name)


def test_no_rule_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_lul.files.theta.PRETRAINED", tmp_path)
    assert available_rules() == []
    with pytest.raises(InvalidInput, match=r"tiny: .* that ship: none"):
        load_rule("tiny")


@pytest.mark.parametrize("name", available_learners())
def test_what_ships_loads_is_small_and_has_a_card(name: str) -> None:
    load_learner(name)
    assert (PRETRAINED / f"{name}.safetensors").stat().st_size < LARGEST
    read_card(PRETRAINED / f"{name}.md")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", ["quickstart", "small"])
def test_what_ships_trains_networks_as_on_the_day_it_shipped(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    def layers(key: str) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(ARRAYS[f"{key}{i}"])[None].to(dtype) for i in (1, 2))

    learner, network = load_rule(name).to(dtype), MLP((12, 16, 32))
    state: UpdateState = {
        "params": {"weights": layers("phi0/W"), "biases": layers("phi0/b")},
        "backward_weights": layers("phi0/V"),
    }
    minibatches = torch.from_numpy(ARRAYS["minibatches"])[:, None].to(dtype)
    with torch.no_grad():
        for x in minibatches:
            state = learner.step(network, state, Batch(x))
        params = learner.parameters_of(state)
        embedding = network.embed(params, minibatches[0])[0]
    outcomes = {"embedding": embedding}
    for i in (1, 2):
        outcomes[f"W{i}"] = params["weights"][i - 1][0]
        outcomes[f"b{i}"] = params["biases"][i - 1][0]
    for key, value in outcomes.items():
        expected = ARRAYS[f"{name}/{key}"]
        np.testing.assert_allclose(value.double().numpy(), expected, rtol=0, atol=tolerance)


def test_mean_of_rules(shipped: UnsupervisedUpdate, tmp_path: Path) -> None:
    moved = load_rule("tiny")
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.add_(2.0)
    save_learner(moved, tmp_path / "moved.safetensors")
    paths = [tmp_path / "tiny.safetensors", tmp_path / "moved.safetensors"]
    mean = mean_rule(paths)
    for of_mean, of_first in zip(mean.parameters(), shipped.parameters(), strict=True):
        torch.testing.assert_close(of_mean, of_first + 1.0)
    other = UnsupervisedUpdate(replace(shipped.settings, inner_rate=0.5))
    save_learner(other, tmp_path / "moved.safetensors")
    with pytest.raises(InvalidInput, match=r"moved.*inner_rate 0.5"):
        mean_rule(paths)
