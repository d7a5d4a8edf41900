"""Curves of rules on held-out data: rows on the same draws, and the page."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lit_lul
from omegaconf import OmegaConf
from test_configs import CONFIGS, HELD_OUT

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import measure_baselines, some_baselines
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.datasets import digits
from lit_lul.files.theta import load_rule, save_learner
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLPs
from lit_lul.objectives import FewShotRidge
from lit_lul.report.suite import PLAIN, load_results

SETTINGS = UpdateSettings(
    hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.03
)
ENTRY: dict[str, Any] = {
    "networks": {
        "class_path": "MLPs",
        "init_args": {"hidden_layers": [1, 1], "hidden_units": [5, 5]},
    },
    "inner_steps": 2,
    "points": 1,
    "batch_size": 6,
    "probes": ["ridge", "logistic"],
    "tests_per_class": 20,
    "draws": 2,
}


def write_rule(path: Path, seed: int, settings: UpdateSettings = SETTINGS) -> None:
    torch.manual_seed(seed)
    save_learner(UnsupervisedUpdate(settings), path)


def write_config(**changes: Any) -> None:
    entries = {"digits": ENTRY | changes, "again": ENTRY | {"seed": 1, "probes": ["ridge"]}}
    ridge = {"class_path": "FewShotRidge", "init_args": {"ridge": 0.2}}
    config = {"held_out": entries, "model": {"objective": ridge}}
    OmegaConf.save(OmegaConf.create(config), "results.yaml")


def report(*options: str) -> str:
    """Run the command; the page."""
    arguments = ["--rules", "mine.safetensors", "--config", "results.yaml", "--out", "out/page.md"]
    lit_lul("report", "results", *arguments, *options)
    return Path("out/page.md").read_text()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a rule and a configuration of digits only."""
    monkeypatch.chdir(tmp_path)
    write_rule(Path("mine.safetensors"), seed=5)
    write_config()


def test_all_rows_are_of_the_same_draws() -> None:
    text = report("--datasets", "digits")
    settings = load_results(Path("results.yaml"))
    assert settings.ridge == FewShotRidge(ridge=0.2)
    (entry,), data = settings.entries["digits"], digits()
    rows = json.loads(Path("out/page/digits.json").read_text())["rows"]
    assert list(rows) == [*PLAIN, "mine, initial θ", "mine"]
    found = measure_baselines(settings.ridge, data, entry, 6, some_baselines(PLAIN))
    for name, accuracy in found.items():
        stored = torch.tensor([rows[name]["accuracy"][probe][0] for probe in entry.probes])
        torch.testing.assert_close(stored, accuracy.float())
    torch.manual_seed(0)
    initial = UnsupervisedUpdate(SETTINGS)
    for name, rule in {"mine": load_rule("mine.safetensors"), "mine, initial θ": initial}.items():
        accuracy = roll_out_draws(rule, settings.ridge, data, entry, range(2)).accuracy
        stored = torch.tensor([rows[name]["accuracy"][probe] for probe in entry.probes])
        torch.testing.assert_close(stored, accuracy.float())
        assert rows[name]["steps"] == [0, 2]
    start = torch.tensor(rows["mine"]["accuracy"]["ridge"][0]).mean()
    assert f"| before the inner loop | {100 * start:.1f} |" in text.replace("**", "")
    assert "Inductive, 2 inner steps, ridge, mean over 1 datasets: the best trained rule" in text
    assert "--rules mine.safetensors --config results.yaml --out out/page.md" in text
    assert "not all of it: again." in text
    for picture in ("ridge", "logistic", "ranks"):
        assert Path(f"out/page/{picture}.png").stat().st_size > 1000


def test_precision_and_protocol_are_in_the_keys_of_rules() -> None:
    def keys() -> dict[str, str]:
        rows = json.loads(Path("out/page/digits.json").read_text())["rows"]
        return {name: row["key"] for name, row in rows.items()}

    report("--datasets", "digits")
    before = keys()
    report("--datasets", "digits", "--precision", "bf16")
    assert {n for n, key in keys().items() if key != before[n]} == {"mine", "mine, initial θ"}
    write_config(protocol="transductive")
    text = report("--datasets", "digits")
    assert not set(before.values()) & set(keys().values())
    assert "## Transductive, 2 inner steps\n" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rules", "mine.safetensors", "sub/other.safetensors"], "embedding units"),
        (["--datasets", "mnist"], "--datasets mnist: expected some of digits, again"),
        (["--config", "empty.yaml"], "empty.yaml: "),
    ],
)
def test_errors_are_one_line(options: list[str], message: str) -> None:
    write_rule(Path("sub/other.safetensors"), 5, replace(SETTINGS, embedding_units=7))
    Path("empty.yaml").write_text("seed: 0\n")
    with pytest.raises(InvalidInput) as raised:
        report(*options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_protocols_that_ship() -> None:
    for name, protocol, steps, precision in (
        ("results.yaml", "inductive", 120, "float32"),
        ("results_transductive.yaml", "transductive", 240, "bf16"),
    ):
        settings = load_results(CONFIGS / name)
        assert list(settings.entries) == HELD_OUT
        assert settings.ridge == FewShotRidge()
        assert settings.machine.precision == precision
        assert [page.stem for page in settings.pages] == ["results", "results_transductive"]
        for (entry,) in settings.entries.values():
            assert entry.networks == MLPs((4, 4), (128, 128))
            assert (entry.protocol, entry.inner_steps) == (protocol, steps)
            assert (entry.draws, entry.labels_per_class) == (10, 10)
            assert entry.probes == ["ridge", "logistic"]
