"""The suite: its configuration, what one command measures and writes, and mean ranks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul
from lit_lul.report.machine import chosen_compilation, chosen_precision
from lit_lul.report.page_path import page_path
from lit_lul.report.ranks import mean_ranks, ranks
from lit_lul.report.suite_config import load_suite
from omegaconf import OmegaConf
from test_configs import CONFIGS
from test_results import write_rule

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import MORE_BASELINES, measure_baselines
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.theta import load_rule
from lit_lul.networks import MLPs
from lit_lul.objectives import FewShotRidge
from lit_lul.report import suite_rows

SHARED: dict[str, Any] = {
    "networks": {
        "class_path": "MLPs",
        "init_args": {"hidden_layers": [1, 1], "hidden_units": [5, 5]},
    },
    "inner_steps": 1,
    "points": 1,
    "batch_size": 6,
    "probes": ["ridge", "logistic_cv"],
    "labels_per_class": 3,
    "tests_per_class": 5,
    "draws": 2,
}
DEVELOPMENT: dict[str, Any] = {
    "wine": {"dataset": "wine"},
    "digits": {"dataset": "digits", "classes": 2, "unlabelled_classes": "same"},
    "digits_more": {"dataset": "digits", "classes": 2},
    "both": {"dataset": ["moons", "wine"], "labels_per_class": 2},
    "absent": {"images": {"dataset": "nowhere/at-all"}},
}


def write_config(**changes: Any) -> None:
    halves = {"development": DEVELOPMENT, "report": {"tumours": {"dataset": "breast_cancer"}}}
    OmegaConf.save(OmegaConf.create({"shared": SHARED, **halves, **changes}), "suite.yaml")


def suite(*options: str) -> str:
    """Run the command; the page."""
    fixed = ["--rules", "mine.safetensors", "--config", "suite.yaml", "--out", "out/suite.md"]
    lit_lul("report", "suite", *fixed, *options)
    return Path("out/suite.md").read_text()


def rows_of(entry: str) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(Path(f"out/suite/{entry}.json").read_text())["rows"]
    return rows


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a rule and a configuration; the hub is not asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_rule(Path("mine.safetensors"), seed=5)
    write_config()


def test_the_page_has_what_can_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    page = suite()
    printed = capsys.readouterr().err
    assert "wine: mine, about" in printed
    assert "absent: left out (" in printed
    assert "absent is left out: " in page
    for title in ("Mean ranks", "Ridge, inductive", "Logistic, transductive"):
        assert f"## {title}\n" in page
    table = page.partition("## Ridge, inductive")[2].strip().splitlines()
    assert table[0] == f"| dataset | {' | '.join(MORE_BASELINES)} | untrained rule | mine |"
    assert [line.split(" | ")[0] for line in table[2:7]] == [
        "| wine",
        "| digits",
        "| digits_more",
        "| both",
        "| *mean*",
    ]
    gains = page.partition("## Unlabelled rows of more classes")[2]
    assert "| digits | +0.0 ± 0.0 |" in gains, "raw inputs do not use unlabelled rows"
    assert Path("out/suite/ranks.png").stat().st_size > 1000
    assert "tumours" not in page
    assert not Path("out/suite/tumours.json").exists()


def test_rows_are_those_of_held_out_evaluation() -> None:
    suite("--only", "both", "wine")
    entry = load_suite(Path("suite.yaml"), "development").entries["both"]
    assert [part.dataset for part in entry] == ["moons", "wine"]
    rows, rule, objective = rows_of("both"), load_rule("mine.safetensors"), FewShotRidge()
    for protocol in ("inductive", "transductive"):
        parts = [HeldOut(**{**vars(part), "protocol": protocol}) for part in entry]
        found = [roll_out_draws(rule, objective, p.load(None), p, range(2)) for p in parts]
        accuracy = torch.cat([rollouts.accuracy[:, -1] for rollouts in found], -1)
        baseline = [measure_baselines(objective, p.load(None), p, 6, ["PCA"]) for p in parts]
        pca = torch.cat([measured["PCA"] for measured in baseline], -1)
        for i, probe in enumerate(("ridge", "logistic_cv")):
            key = f"{probe}, {protocol}"
            assert rows["mine"]["accuracy"][key][0] == pytest.approx(accuracy[i].tolist())
            assert rows["PCA"]["accuracy"][key][0] == pytest.approx(pca[i].tolist())
    assert rows["mine"]["steps"] == [1]


def test_what_is_measured_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = suite("--only", "wine")
    assert "Not measured yet: digits, digits_more, both, absent." in first

    def fail(*_: Any) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(suite_rows, "measure_baselines", fail)
        patch.setattr(suite_rows, "rollout", fail)
        assert suite("--only", "wine") == first
    before = rows_of("wine")
    write_rule(Path("mine.safetensors"), seed=6)
    suite("--only", "wine")
    after = rows_of("wine")
    assert {name for name in after if after[name] != before[name]} == {"mine"}


def test_the_report_half_and_a_quick_look_have_their_own_entries_and_files() -> None:
    suite("--half", "report")
    assert [path.name for path in Path("out/suite").glob("*.json")] == ["tumours.json"]
    with pytest.raises(FileNotFoundError):
        Path("out/suite_quick.md").read_text()
    suite("--quick", "--only", "wine")
    page = Path("out/suite_quick.md").read_text()
    assert "--quick" in page
    assert "for 2 inner steps on minibatches of 32" in " ".join(page.split())
    assert [path.name for path in Path("out/suite_quick").glob("*.json")] == ["wine.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "tumours"], "--only tumours: expected some of wine, digits"),
        (["--out", "page"], "--out page: expected a name that ends in .md"),
        (["--half", "third"], "half"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", "odd.yaml"], "odd.yaml: unknown draws"),
        (["--config", "bad.yaml"], "dataset 'vine': expected one of digits"),
        (["--rules", "k-means.safetensors"], "names of their own"),
    ],
)
def test_errors_are_one_line(options: list[str], message: str) -> None:
    write_rule(Path("k-means.safetensors"), seed=5)
    Path("odd.yaml").write_text("draws: 3\n")
    Path("bad.yaml").write_text("development: {wine: {dataset: vine}}\n")
    with pytest.raises(InvalidInput) as raised:
        suite(*options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_equal_columns_share_a_rank_and_sources_are_drawn_together() -> None:
    accuracy = np.array([[0.9, 0.5, 0.5], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    assert ranks(accuracy).tolist() == [[1, 2.5, 2.5], [3, 2, 1], [3, 2, 1]]
    together = mean_ranks(accuracy, ["a", "b", "b"])
    assert together.mean.tolist() == pytest.approx([7 / 3, 6.5 / 3, 4.5 / 3])
    assert (together.low[0], together.high[0]) == (1, 3)
    alone = mean_ranks(accuracy[1:], ["b", "b"])
    assert alone.low.tolist() == alone.high.tolist() == [3, 2, 1]


def test_the_suites_that_ship() -> None:
    short, long = (
        load_suite(CONFIGS / name, "development") for name in ("suite.yaml", "suite_long.yaml")
    )
    report = load_suite(CONFIGS / "suite.yaml", "report")
    assert list(short.entries) == list(long.entries)
    for suite, steps in ((short, 100), (long, 1000), (report, 100)):
        for part in (part for parts in suite.entries.values() for part in parts):
            assert part.networks == MLPs((4, 4), (128, 128))
            assert (part.inner_steps, part.batch_size) == (steps, 128)
            assert part.probes == ["ridge", "logistic_cv"]
    judged = {"ylecun/mnist", "zalando-datasets/fashion_mnist", "stanfordnlp/imdb"}
    for suite, are_judged in ((short, False), (report, True)):
        for part in (part for parts in suite.entries.values() for part in parts):
            named = part.images or part.text
            assert (named is not None and named.dataset in judged) == are_judged


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "float32")])
def test_the_machine_decides_the_precision(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_lul.report.machine.has_native_bf16", lambda device: native)
    monkeypatch.setattr("lit_lul.report.machine.has_compiler", lambda: native)
    assert chosen_precision(Path("suite.yaml"), "auto") == precision
    assert chosen_compilation(Path("suite.yaml"), "auto") is native
    with pytest.raises(InvalidInput, match="expected auto, float32 or bf16"):
        chosen_precision(Path("suite.yaml"), "fp8")
    with pytest.raises(InvalidInput, match="expected auto, true or false"):
        chosen_compilation(Path("suite.yaml"), "maybe")


def test_a_quick_page_has_its_name_once() -> None:
    assert page_path(Path("docs/suite.md"), quick=True) == Path("docs/suite_quick.md")
    assert page_path(Path("docs/suite_quick.md"), quick=True) == Path("docs/suite_quick.md")
