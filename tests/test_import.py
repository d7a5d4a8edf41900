"""θ of a checkpoint that TensorFlow's saver wrote, and checkpoints that cannot be imported."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul, refused
from numpy.typing import NDArray

from lit_lul import InvalidInput, UnsupervisedUpdate, UpdateSettings, load_rule
from lit_lul.files.tf_checkpoint import read_checkpoint
from lit_lul.learners.learner import Batch
from lit_lul.learners.metz.algorithm import UpdateState
from lit_lul.learners.metz.released import from_released, released_shapes
from lit_lul.networks.mlp import MLP

GOLDEN = Path(__file__).parent / "golden"
CHECKPOINT = GOLDEN / "tf_graph_data.ckpt"
SUFFIXES = (".index", ".data-00000-of-00001")
ARRAYS: dict[str, NDArray[Any]] = dict(np.load(GOLDEN / "released_7-5-4.npz"))
"""What the authors' code computed with the θ of the checkpoint (see golden/README.md)."""
SCOPE = "MoreLocalWeightUpdateProcess/"
SIZES = UpdateSettings(
    hidden_channels=6, error_channels=5, top_channels=8, readout_channels=3, embedding_units=4
)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the checkpoint in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    for suffix in SUFFIXES:
        shutil.copy(f"{CHECKPOINT}{suffix}", tmp_path)
    return tmp_path / CHECKPOINT.name


def variables() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(v.copy()) for name, v in read_checkpoint(CHECKPOINT).items()}


@pytest.mark.parametrize("suffix", ["", ".index"])
def test_values_are_those_that_were_saved(suffix: str) -> None:
    found = read_checkpoint(f"{CHECKPOINT}{suffix}")
    expected = {
        SCOPE + key.removeprefix("theta/"): value
        for key, value in ARRAYS.items()
        if key.startswith("theta/")
    }
    assert len(expected) == 72 and expected.keys() <= found.keys()
    assert "global_step" not in found, "an integer"
    assert all(np.array_equal(found[name], value) for name, value in expected.items())


def test_the_imported_rule_does_what_the_authors_code_did(checkpoint: Path) -> None:
    lit_lul("import", str(checkpoint), "rule.safetensors")
    rule = load_rule("rule.safetensors").double()
    assert rule.settings == SIZES

    def layers(key: str) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(ARRAYS[f"{key}{i}"])[None].double() for i in (1, 2))

    state: UpdateState = {
        "params": {"weights": layers("phi0/W"), "biases": layers("phi0/b")},
        "backward_weights": layers("phi0/V"),
    }
    start = state
    with torch.no_grad():
        for step, x in enumerate(torch.from_numpy(ARRAYS["minibatches"]).double(), 1):
            state = rule.step(MLP((7, 5, 4)), state, Batch(x[None]))
            if f"phi{step}/W1" not in ARRAYS:
                continue
            for name, before, after in (
                ("W", start["params"]["weights"], state["params"]["weights"]),
                ("b", start["params"]["biases"], state["params"]["biases"]),
                ("V", start["backward_weights"], state["backward_weights"]),
            ):
                for i, expected in enumerate(layers(f"phi{step}/{name}")):
                    change = (expected - before[i]).abs().max()
                    assert (after[i] - expected).abs().max() < 1e-3 * change, "theirs is float32"


def test_other_scopes_and_variables_do_not_matter() -> None:
    expected = from_released(variables()).state_dict()
    renamed = {n.replace(SCOPE, "a/b/"): v for n, v in variables().items()}
    renamed["a/b/compute_top_delta/conv_1d/w/Adam"] = torch.zeros(2)
    found = from_released(renamed).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("settings", [SIZES, UpdateSettings()])
def test_released_shapes_are_of_a_rule_of_these_sizes(settings: UpdateSettings) -> None:
    shapes = released_shapes(settings)
    rule = from_released({name: torch.zeros(shape) for name, shape in shapes.items()})
    assert isinstance(rule, UnsupervisedUpdate) and rule.settings == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linear/b": None}, "linear/b is missing, expected [5]"),
        ({"batch_norm_2/beta": (6,)}, "batch_norm_2/beta is [6], expected [1, 1, 6]"),
        ({"conv_1d/w": None}, "conv_1d/w is missing, expected 3 axes"),
        ({"linear/w": (6,)}, "linear/w is [6], expected 2 axes"),
        ({"forward_weight_readout_coeffs/w": (10, 1)}, "coeffs/w is [10, 1], expected [12, 1]"),
        (dict.fromkeys(["linear/b", "conv_1d_1/w", "batch_norm/beta"]), "batch_norm/beta is miss"),
        ({"conv_1d/w": (3, 18, 7)}, "and 25 more"),
        ({"compute_top_delta/conv_1d/w": None}, "no θ of the released form"),
    ],
)
def test_wrong_variables_are_named_and_nothing_is_written(
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, tuple[int, ...] | None],
    message: str,
) -> None:
    found = read_checkpoint(checkpoint)
    for name, shape in changes.items():
        del found[SCOPE + name]
        if shape is not None:
            found[SCOPE + name] = np.zeros(shape, np.float32)
    monkeypatch.setattr("lit_lul.files.tf_checkpoint.read_checkpoint", lambda _: found)
    with pytest.raises(InvalidInput) as raised:
        lit_lul("import", str(checkpoint), "rule.safetensors")
    assert message in str(raised.value) and str(checkpoint) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not Path("rule.safetensors").exists()


def test_what_is_no_whole_checkpoint_is_one_line(checkpoint: Path) -> None:
    index, data = (checkpoint.with_name(checkpoint.name + suffix) for suffix in SUFFIXES)
    whole = {path: path.read_bytes() for path in (index, data)}

    def check(message: str, output: str = "rule.safetensors") -> None:
        with refused(message):
            lit_lul("import", str(checkpoint), output)
        assert not Path(output).exists()
        for path, content in whole.items():
            path.write_bytes(content)

    check("expected a name with the suffix .safetensors", "rule.ckpt")
    index.unlink()
    check(r"\.index: expected the index of a TensorFlow checkpoint$")
    index.unlink()
    checkpoint.write_bytes(b"all in one file")
    check("a checkpoint of version 1 is not read")
    data.unlink()
    check("expected a TensorFlow checkpoint .*No such file")
    for path, content in whole.items():
        for length in (0, 1, 47, len(content) // 2):
            path.write_bytes(content[:length])
            check("expected a whole TensorFlow checkpoint of version 2")
        for at in range(3, len(content) - 160, 997):
            path.write_bytes(content[:at] + bytes([content[at] ^ 8]) + content[at + 1 :])
            check("is damaged")
