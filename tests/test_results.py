"""The report on learners: rows on the same draws, files that it resumes from, what it says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lit_lul
from lit_lul.report.results_page import losses, table
from lit_lul.report.rules import load_learners
from lit_lul.report.stored_rows import Row
from omegaconf import OmegaConf
from test_configs import CONFIGS, HELD_OUT

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import BASELINES, measure_baselines
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.datasets import digits
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.theta import load_rule, save_learner
from lit_lul.learners import LocalRule, LocalSettings, UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLPs
from lit_lul.objectives import FewShotRidge
from lit_lul.report import result_rows
from lit_lul.report.results import load_protocol

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


def report(*options: str, rules: tuple[str, ...] = ("mine.safetensors",)) -> str:
    """Run the command; the report."""
    arguments = ["--rules", *rules, "--config", "results.yaml", "--out", "out/report.md"]
    lit_lul("report", "results", *arguments, *options)
    return Path("out/report.md").read_text()


def rows_of(dataset: str) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(Path(f"out/report/{dataset}.json").read_text())["rows"]
    return rows


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a rule and a configuration of digits only."""
    monkeypatch.chdir(tmp_path)
    write_rule(Path("mine.safetensors"), seed=5)
    write_config()


def test_all_rows_are_of_the_same_draws() -> None:
    text = report("--datasets", "digits")
    held_out, ridge, *_ = load_protocol(Path("results.yaml"))
    assert ridge == FewShotRidge(ridge=0.2)
    entry, data, rows = held_out["digits"], digits(), rows_of("digits")
    assert list(rows) == [*BASELINES, "untrained rule", "mine"]
    for name, accuracy in measure_baselines(ridge, data, entry, 6).items():
        found = torch.tensor([rows[name]["accuracy"][probe][0] for probe in entry.probes])
        torch.testing.assert_close(found, accuracy.float())
    torch.manual_seed(0)
    untrained = UnsupervisedUpdate(SETTINGS)
    for name, rule in {"mine": load_rule("mine.safetensors"), "untrained rule": untrained}.items():
        accuracy = roll_out_draws(rule, ridge, data, entry, range(2)).accuracy
        found = torch.tensor([rows[name]["accuracy"][probe] for probe in entry.probes])
        torch.testing.assert_close(found, accuracy.float())
        assert rows[name]["steps"] == [0, 2]
    assert "Not measured yet: again." in text
    assert "- digits: inductive (statistics of up to 2,048 rows), 10 labels" in text
    assert "--rules mine.safetensors --config results.yaml --out out/report.md" in text
    start = torch.tensor(rows["mine"]["accuracy"]["ridge"][0]).mean()
    assert f"{start:.1%} ±" in text


def test_what_is_measured_is_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []

    def counted(name: str) -> None:
        original = getattr(result_rows, name)

        def call(*args: Any) -> Any:
            measured.append(name)
            return original(*args)

        monkeypatch.setattr(result_rows, name, call)

    counted("roll_out_draws")
    counted("measure_baselines")
    report("--datasets", "digits")
    assert sorted(measured) == ["measure_baselines", "roll_out_draws", "roll_out_draws"]
    assert "digits: mine, inner step 2 of 2" in capsys.readouterr().err
    first = report()
    assert "Not measured" not in first
    assert len(measured) == 6, "the other dataset alone"
    for picture in ("ridge", "logistic"):
        assert Path(f"out/report/{picture}.png").stat().st_size > 1000
    assert report() == first
    assert len(measured) == 6
    write_rule(Path("mine.safetensors"), seed=6)
    report("--datasets", "digits")
    assert measured[6:] == ["roll_out_draws"], "the rule, not the untrained one"
    report("--datasets", "digits", "--precision", "bf16")
    assert measured[7:] == ["roll_out_draws"] * 2, "hidden states are none of the baselines'"
    write_config(protocol="transductive")
    text = report("--datasets", "digits", "--precision", "bf16")
    assert len(measured) == 12
    assert "- digits: transductive, 10 labels" in text
    assert "| digits | transductive | 2 |" in text


def test_rules_of_other_settings_have_untrained_rules_of_their_own() -> None:
    write_rule(Path("twin.safetensors"), seed=7)
    write_rule(Path("wide.safetensors"), seed=7, settings=replace(SETTINGS, hidden_channels=5))
    report("--datasets", "digits", rules=("mine.safetensors", "twin.safetensors"))
    assert list(rows_of("digits"))[len(BASELINES) :] == ["untrained rule", "mine", "twin"]
    save_learner(LocalRule(LocalSettings(embedding_units=6)), Path("hebbian.safetensors"))
    names = list(load_learners(["mine.safetensors", "hebbian.safetensors"], []))
    assert names == ["untrained rule", "untrained rule (hebbian)", "mine", "hebbian"]
    names = list(load_learners(["mine.safetensors", "twin.safetensors", "wide.safetensors"], []))
    assert names == ["untrained rule", "untrained rule (wide)", "mine", "twin", "wide"]


def row(*draws: float) -> Row:
    return Row("", [0], {"ridge": [list(draws)]})


def test_a_table_has_the_best_in_bold_and_losses_are_of_pairs() -> None:
    good = {"PCA": row(0.5, 0.7), "untrained rule": row(0.1, 0.3), "mine": row(0.7, 0.9)}
    bad = good | {"mine": row(0.4, 0.5), "yours": row(0.9, 0.9)}
    measured = {"digits": good, "more": bad}
    lines = table({"digits": good}, "ridge", {"digits": HeldOut()}).splitlines()
    assert lines[0] == "| dataset | protocol | inner steps | PCA | untrained rule | mine |"
    cells = ["digits", "inductive", "0", "60.0% ± 10.0%", "20.0% ± 10.0%", "**80.0% ± 10.0%**"]
    assert lines[2] == f"| {' | '.join(cells)} |"
    line = losses(["mine", "yours"], "mine", measured, "ridge")
    assert line == "`mine` loses on more (to PCA, by 15.0 ± 5.0 points)."
    assert losses(["mine"], "mine", {"digits": good}, "ridge") == "`mine` loses nowhere."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rules", "nowhere"], "nowhere: expected a .safetensors file"),
        (["--rules", "mine.safetensors", "sub/mine.safetensors"], "names of their own"),
        (["--rules", "mine.safetensors", "sub/other.safetensors"], "embedding units"),
        (["--datasets", "mnist"], "--datasets mnist: expected some of digits, again"),
        (["--out", "report"], "--out report: expected a name that ends in .md"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", "bad.yaml"], "bad.yaml: "),
        (["--config", "empty.yaml"], "empty.yaml: "),
        (["--out", "spoilt.md"], "spoilt/digits.json: expected rows of digits"),
    ],
)
def test_errors_are_one_line(options: list[str], message: str) -> None:
    write_rule(Path("sub/mine.safetensors"), seed=5)
    write_rule(Path("sub/other.safetensors"), 5, replace(SETTINGS, embedding_units=7))
    Path("bad.yaml").write_text("held_out: {digits: {draws: many}}\n")
    Path("empty.yaml").write_text("seed: 0\n")
    Path("spoilt").mkdir()
    Path("spoilt/digits.json").write_text('{"rows": [')
    with pytest.raises(InvalidInput) as raised:
        report(*options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_protocol_that_ships() -> None:
    held_out, ridge, *_ = load_protocol(CONFIGS / "results.yaml")
    assert list(held_out) == HELD_OUT
    for entry in held_out.values():
        assert entry.networks == MLPs((4, 4), (128, 128))
        assert entry.protocol == "inductive"
        assert (entry.inner_steps, entry.draws, entry.labels_per_class) == (120, 10, 10)
        assert entry.probes == ["ridge", "logistic"]
    assert ridge == FewShotRidge()


def test_bad_values_of_a_dataset_are_named() -> None:
    write_config(draws=1)
    with pytest.raises(InvalidInput, match="draws 1"):
        load_protocol(Path("results.yaml"))
