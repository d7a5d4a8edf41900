"""Files of θ and φ: what is written comes back, and what cannot be is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import refused
from safetensors.torch import save_file

from lit_lul.errors import InvalidInput
from lit_lul.files.phi import load_phi, save_phi
from lit_lul.files.tensors import read_tensors
from lit_lul.files.theta import (
    FORMAT,
    Stored,
    check_settings,
    described,
    load_learner,
    save_learner,
    stored_settings,
)
from lit_lul.learners.metz import UnsupervisedUpdate, UpdateSettings
from lit_lul.networks.mlp import MLP
from lit_lul.trees import tensors_of

SMALL = UpdateSettings(hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6)
NETWORK = MLP((5, 4, 3), "tanh")


@pytest.fixture
def rule() -> UnsupervisedUpdate:
    torch.manual_seed(0)
    return UnsupervisedUpdate(SMALL)


def rewritten(path: Path, **metadata: Any) -> Path:
    """The same tensors under other metadata; None removes a key."""
    tensors, found = read_tensors(path, FORMAT)
    merged = {k: v for k, v in {**found, **metadata}.items() if v is not None}
    save_file(tensors, path, merged)
    return path


def test_settings_that_a_file_lacks_take_the_value_they_had(
    rule: UnsupervisedUpdate, tmp_path: Path
) -> None:
    path = tmp_path / "theta.safetensors"
    save_learner(rule, path)
    younger = {k: v for k, v in described(rule)[1].items() if k not in ("growth", "planes")}
    rewritten(path, settings=json.dumps(younger))
    assert load_learner(path).settings == SMALL
    assert stored_settings(path) == described(rule)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"settings": json.dumps({"growth": 0.1, "gain": 2, "tilt": 3})}, "setting gain, tilt of"),
        (
            {"settings": json.dumps({"hidden_channels": 0})},
            "hidden_channels must be at least 1, got 0",
        ),
        ({"settings": json.dumps({"hidden_channels": None})}, "must be an integer, got None"),
        ({"settings": json.dumps({"hidden_stack": None})}, "hidden_stack must be one of"),
        (
            {"settings": json.dumps({"error_norm": "row"})},
            "error_norm must be one of tensor, unit, got 'row'",
        ),
        ({"settings": "{"}, "expected class and settings"),
        ({"settings": "3"}, "expected class and settings"),
        ({"settings": None}, "expected class and settings"),
        ({"class": None}, "expected class and settings"),
        ({"class": "os.system"}, "unknown learner os.system, .*LocalRule, .*UnsupervisedUpdate"),
        ({"class": "LocalRule"}, "unknown setting hidden_channels"),
        ({"format": "lit_lul phi 2"}, "format 'lit_lul learner'"),
        ({"format_version": "3"}, "format version 3, expected 2: .* pip install --upgrade"),
        ({"format_version": "2b"}, "format version 2b, expected 2$"),
        ({"format_version": None}, "format version none, expected 2$"),
    ],
)
def test_what_a_file_cannot_mean_is_one_line(
    rule: UnsupervisedUpdate, tmp_path: Path, metadata: dict[str, str | None], message: str
) -> None:
    path = tmp_path / "theta.safetensors"
    save_learner(rule, path)
    rewritten(path, **metadata)
    with pytest.raises(InvalidInput, match=message) as raised:
        load_learner(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("stored", "configured"),
    [
        (("LocalRule", {"inner_rate": 0.1}), ("LocalRule", {})),
        (("LocalRule", {"inner_rate": 0.1}), ("LocalRule", {"inner_rate": 0.1})),
        (("LocalRule", {}), ("LocalRule", {"inner_rate": 0.1})),
        (
            ("UnsupervisedUpdate", {"planes": ["hebb", "rbf"]}),
            ("UnsupervisedUpdate", {"planes": ("hebb", "rbf")}),
        ),
    ],
)
def test_what_agrees_with_the_stored_settings(stored: Stored, configured: Stored) -> None:
    check_settings("theta", stored, configured)


@pytest.mark.parametrize(
    ("stored", "configured", "message"),
    [
        (
            ("UnsupervisedUpdate", {"growth": 0.25}),
            ("UnsupervisedUpdate", {"growth": 5.0}),
            "theta: made with growth 0.25, but the configuration says growth 5.0",
        ),
        (
            ("LocalRule", {}),
            ("LocalRule", {"inner_rate": 0.5}),
            "theta: made with inner_rate 0.1, but the configuration says inner_rate 0.5",
        ),
        (
            ("LocalRule", {}),
            ("UnsupervisedUpdate", {}),
            "theta: holds θ of LocalRule, but the configuration has UnsupervisedUpdate",
        ),
    ],
)
def test_a_configuration_that_says_otherwise_is_one_line_with_both_values(
    stored: Stored, configured: Stored, message: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        check_settings("theta", stored, configured)
    assert str(raised.value) == message


def test_phi_and_statistics_come_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    params = NETWORK.init(1, generator)
    rows = torch.rand(1, 9, 5, generator=generator)
    statistics = NETWORK.statistics(params, rows)
    save_phi(params, NETWORK, tmp_path / "phi.safetensors", statistics)
    network, loaded, kept = load_phi(tmp_path / "phi.safetensors")
    assert network == NETWORK
    assert kept is not None
    one = network.embed(loaded, rows[:, :1], kept)
    assert torch.equal(one, NETWORK.embed(params, rows[:, :1], statistics))
    torch.testing.assert_close(one, NETWORK.embed(params, rows)[:, :1])


def test_phi_without_statistics(tmp_path: Path) -> None:
    params = NETWORK.init(1, torch.Generator().manual_seed(1))
    save_phi(params, NETWORK, tmp_path / "phi.safetensors")
    _, loaded, statistics = load_phi(tmp_path / "phi.safetensors")
    assert statistics is None
    found, expected = dict(tensors_of(loaded)), dict(tensors_of(params))
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.parametrize(
    ("metadata", "removed", "message"),
    [
        ({"class": "ConvNet"}, None, "unknown network ConvNet, expected MLP"),
        ({"network": '{"sizes": [5]}'}, None, "fields of MLP"),
        ({"network": '{"sizes": [5, 4, 3], "depth": 2}'}, None, "fields of MLP"),
        ({"network": '{"sizes": [5, 4, 2]}'}, None, r"biases.1 is \[3\], expected \[2\]"),
        ({}, "weights.1", "weights.1 is nothing"),
        ({}, "statistics.1.mean", "statistics.1.mean is nothing"),
    ],
)
def test_a_broken_phi_is_one_line(
    tmp_path: Path, metadata: dict[str, str], removed: str | None, message: str
) -> None:
    path = tmp_path / "phi.safetensors"
    params = NETWORK.init(1, torch.Generator().manual_seed(1))
    save_phi(params, NETWORK, path, NETWORK.statistics(params, torch.rand(1, 9, 5)))
    tensors, found = read_tensors(path, "lit_lul phi 2")
    save_file({k: v for k, v in tensors.items() if k != removed}, path, found | metadata)
    with refused(message):
        load_phi(path)
