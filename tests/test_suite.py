"""Rules beside baselines: what `report suite` and `report results` measure, store and write."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul, without_hub
from omegaconf import OmegaConf
from test_configs import CONFIGS, HELD_OUT

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import measure_baselines, some_baselines
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.datasets import digits
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.theta import load_rule, save_learner
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLPs
from lit_lul.objectives import FewShotRidge
from lit_lul.report.comparison import gain, mean_ranks
from lit_lul.report.rows import Row
from lit_lul.report.suite import RESULTS, SUITE, load_suite

SETTINGS = UpdateSettings(
    hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.03
)
SHARED: dict[str, Any] = {
    "networks": {
        "class_path": "MLPs",
        "init_args": {"hidden_layers": [1, 1], "hidden_units": [5, 5]},
    },
    "points": 1,
    "batch_size": 6,
    "draws": 2,
}
OF_SUITE = {"inner_steps": 1, "probes": ["ridge", "logistic_cv"], "labels_per_class": 3}
OF_RESULTS = {"inner_steps": 2, "probes": ["ridge", "logistic"], "tests_per_class": 20}
DEVELOPMENT: dict[str, Any] = {
    "wine": {"dataset": "wine"},
    "wine_more": {"dataset": "wine", "classes": 2},
    "both": {"dataset": ["moons", "wine"], "labels_per_class": 2},
    "absent": {"images": {"dataset": "nowhere/at-all"}},
}


def write_rule(path: Path, seed: int, settings: UpdateSettings = SETTINGS) -> None:
    torch.manual_seed(seed)
    save_learner(UnsupervisedUpdate(settings), path)


def write_results(**changes: Any) -> None:
    entry = SHARED | OF_RESULTS
    entries = {"digits": entry | changes, "again": entry | {"seed": 1, "probes": ["ridge"]}}
    ridge = {"class_path": "FewShotRidge", "init_args": {"ridge": 0.2}}
    config = {"held_out": entries, "model": {"objective": ridge}}
    OmegaConf.save(OmegaConf.create(config), "results.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a rule and configurations; the hub is not asked."""
    monkeypatch.chdir(tmp_path)
    without_hub(monkeypatch)
    write_rule(Path("mine.safetensors"), seed=5)
    write_results()
    config = {
        "shared": SHARED | OF_SUITE | {"tests_per_class": 5},
        "development": DEVELOPMENT,
        "report": {"tumours": {"dataset": "breast_cancer"}},
        "quick": {"shared": {"inner_steps": 2}},
        "page": ["suite.yaml", "suite_long.yaml"],
    }
    OmegaConf.save(OmegaConf.create(config), "suite.yaml")
    Path("suite_long.yaml").write_text("base: suite.yaml\nshared: {inner_steps: 3}\n")


def report(name: str, *options: str) -> str:
    """Run a command; the page."""
    words = ["--rules", "mine.safetensors", "--config", f"{name}.yaml", "--out", f"out/{name}.md"]
    lit_lul("report", name, *words, *options)
    return Path(f"out/{name}.md").read_text()


def rows_of(entry: str) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(Path(f"out/{entry}.json").read_text())["rows"]
    return rows


def test_the_page_has_all_that_is_measured_and_rows_are_those_of_held_out_evaluation() -> None:
    page = report("suite")
    assert "absent is left out: " in page
    table = page.partition("### Ridge, inductive\n\n")[2].splitlines()
    assert table[0] == "|  | mean | wine | wine+ | both |"
    names = [line.split(" | ")[0].removeprefix("| ") for line in table[2:13]]
    assert names == ["*baselines*", *SUITE.baselines, "*rules*", "mine, initial θ"]
    assert "### Trained minus initial θ" in page
    assert "the best trained rule, `mine`, has" in page.splitlines()[2]
    assert Path("out/suite/ranks.png").stat().st_size > 1000
    assert "tumours" not in page
    entry = load_suite(Path("suite.yaml"), "development").entries["both"]
    assert [part.dataset for part in entry] == ["moons", "wine"]
    rows, rule, objective = rows_of("suite/both"), load_rule("mine.safetensors"), FewShotRidge()
    pca = some_baselines(["PCA"])
    baseline = [measure_baselines(objective, p.load(None), p, 6, pca)["PCA"] for p in entry]
    for protocol in ("inductive", "transductive"):
        parts = [HeldOut(**{**vars(part), "protocol": protocol}) for part in entry]
        found = [roll_out_draws(rule, objective, p.load(None), p, range(2)) for p in parts]
        accuracy = torch.cat([rollouts.accuracy[:, -1] for rollouts in found], -1)
        for i, probe in enumerate(("ridge", "logistic_cv")):
            key = f"{probe}, {protocol}"
            assert rows["mine"]["accuracy"][key][0] == pytest.approx(accuracy[i].tolist())
            expected = torch.cat(baseline, -1)[i].tolist()
            assert rows["PCA"]["accuracy"][key][0] == pytest.approx(expected)
    assert rows["mine"]["steps"] == [1]


@pytest.mark.slow
def test_halves_and_configurations_share_a_page_and_a_quick_look_has_its_own() -> None:
    report("suite", "--only", "wine")
    report("suite", "--half", "report")
    page = report("suite", "--config", "suite_long.yaml", "--only", "wine")
    for title in (
        "Development half, 1 inner steps",
        "Report half, 1 inner steps",
        "Development half, 3 inner steps",
    ):
        assert f"## {title}\n" in page
    assert page.count("python -m lit_lul report suite") == 3
    for file in ("suite/wine", "suite_report/tumours", "suite_long/wine"):
        assert "mine, initial θ" in rows_of(file)
    report("suite", "--quick", "--only", "wine")
    assert "Development half, 2 inner steps" in Path("out/suite_quick.md").read_text()
    assert [path.name for path in Path("out/suite_quick").glob("*.json")] == ["wine.json"]


def test_rows_with_curves_are_of_the_same_draws() -> None:
    text = report("results", "--datasets", "digits")
    settings = load_suite(Path("results.yaml"), None)
    assert settings.ridge == FewShotRidge(ridge=0.2)
    (entry,), data, rows = settings.entries["digits"], digits(), rows_of("results/digits")
    assert list(rows) == [*RESULTS.baselines, "mine, initial θ", "mine"]
    baselines = some_baselines(RESULTS.baselines)
    found = measure_baselines(settings.ridge, data, entry, 6, baselines)
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
    assert "--rules mine.safetensors --config results.yaml --out out/results.md" in text
    assert "not all of it: again." in text
    for picture in ("ridge", "logistic", "ranks"):
        assert Path(f"out/results/{picture}.png").stat().st_size > 1000


def test_precision_and_protocol_are_in_the_keys_of_rules() -> None:
    def keys() -> dict[str, str]:
        return {name: row["key"] for name, row in rows_of("results/digits").items()}

    report("results", "--datasets", "digits")
    before = keys()
    report("results", "--datasets", "digits", "--precision", "bf16")
    assert {n for n, key in keys().items() if key != before[n]} == {"mine", "mine, initial θ"}
    write_results(protocol="transductive")
    text = report("results", "--datasets", "digits")
    assert not set(before.values()) & set(keys().values())
    assert "## Transductive, 2 inner steps\n" in text


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("suite", ["--only", "tumours"], "--only tumours: expected some of wine, wine_more"),
        ("suite", ["--config", "odd.yaml"], "odd.yaml: unknown draws"),
        ("suite", ["--config", "bad.yaml"], "dataset 'vine': expected one of digits"),
        ("results", ["--rules", "mine.safetensors", "sub/other.safetensors"], "embedding units"),
        ("results", ["--datasets", "mnist"], "--datasets mnist: expected some of digits, again"),
        ("results", ["--config", "empty.yaml"], "empty.yaml: "),
    ],
)
def test_errors_are_one_line(command: str, options: list[str], message: str) -> None:
    Path("odd.yaml").write_text("draws: 3\n")
    Path("bad.yaml").write_text("development: {wine: {dataset: vine}}\n")
    Path("empty.yaml").write_text("seed: 0\n")
    write_rule(Path("sub/other.safetensors"), 5, replace(SETTINGS, embedding_units=7))
    with pytest.raises(InvalidInput) as raised:
        report(command, *options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_equal_methods_share_a_rank_and_sources_are_drawn_together() -> None:
    accuracy = np.array([[0.9, 0.5, 0.5], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    together = mean_ranks(accuracy, ["a", "b", "b"])
    assert [mean for mean, _, _ in together] == pytest.approx([7 / 3, 6.5 / 3, 4.5 / 3])
    assert together[0][1:] == (1, 3)
    assert mean_ranks(accuracy[1:], ["b", "b"]) == [(3, 3, 3), (2, 2, 2), (1, 1, 1)]


def test_a_gain_is_paired_by_draws_with_an_interval_over_all_entries() -> None:
    def rows(initial: list[float], trained: list[float]) -> dict[str, Row]:
        names = {"mine, initial θ": initial, "mine": trained}
        return {name: Row("", [1], {"ridge": [draws]}) for name, draws in names.items()}

    one = rows([0.1, 0.5, 0.3], [0.12, 0.53, 0.34])  # 3 points, variance 1 / 3
    measured = {"a": one, "b": rows([0.2, 0.4], [0.25, 0.45])}  # 5 points, no variance
    # t with the two degrees of freedom of the first: 4.303, over √3 and two entries
    assert gain(measured, "mine", "ridge") == "+4.0 (+2.8 to +5.2)"
    assert gain({"a": {}}, "mine", "ridge") is None


def test_the_suites_that_ship() -> None:
    short, long = (
        load_suite(CONFIGS / name, "development") for name in ("suite.yaml", "suite_long.yaml")
    )
    report = load_suite(CONFIGS / "suite.yaml", "report")
    assert list(short.entries) == list(long.entries)
    assert [s.section for s in (short, long, report)] == ["", "_long", "_report"]
    judged = {"ylecun/mnist", "zalando-datasets/fashion_mnist", "stanfordnlp/imdb"}
    for suite, steps in ((short, 100), (long, 1000), (report, 100)):
        for part in (part for parts in suite.entries.values() for part in parts):
            assert part.networks == MLPs((4, 4), (128, 128))
            assert (part.inner_steps, part.batch_size) == (steps, 128)
            assert part.probes == ["ridge", "logistic_cv"]
            named = part.images or part.text
            assert (named is not None and named.dataset in judged) == (suite is report)
    for parts in load_suite(CONFIGS / "suite.yaml", "development", quick=True).entries.values():
        assert {(part.draws, part.inner_steps) for part in parts} == {(2, 2)}


def test_the_results_that_ship() -> None:
    for name, protocol, steps, precision in (
        ("results.yaml", "inductive", 120, "float32"),
        ("results_transductive.yaml", "transductive", 240, "bf16"),
    ):
        settings = load_suite(CONFIGS / name, None)
        assert list(settings.entries) == HELD_OUT
        assert settings.ridge == FewShotRidge()
        assert settings.machine.precision == precision
        assert [page.stem for page in settings.pages] == ["results", "results_transductive"]
        for (entry,) in settings.entries.values():
            assert entry.networks == MLPs((4, 4), (128, 128))
            assert (entry.protocol, entry.inner_steps) == (protocol, steps)
            assert (entry.draws, entry.labels_per_class) == (10, 10)
            assert entry.probes == ["ridge", "logistic"]
