"""The report on learned optimizers: rates, rows between runs, the claims, and what ships."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import lit_lul, without_hub

from lit_lul.errors import InvalidInput
from studies.optimizers import INITIAL, LEARNED, TUNED, below, holds

STUDY = """
rates: [0.5, 0.05, 1.0e+9]
problems:
  small: &small
    learner: lstm_quadratics
    source: {class_path: QuadraticTasks, init_args: {dimensions: [3]}}
    networks: {class_path: Linears}
    objective: {class_path: SquaredError}
    steps: 4
    draws: 3
    tuning_draws: 2
    claim: best
  no data:
    <<: *small
    source:
      class_path: ImageTasks
      init_args: {images: {dataset: nowhere/at-all}}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a small study."""
    monkeypatch.chdir(tmp_path)
    without_hub(monkeypatch)
    Path("study.yaml").write_text(STUDY)
    return tmp_path


def report(*options: str) -> dict[str, Any]:
    """The rows of the small problem after a report."""
    lit_lul("report", "optimizers", "--config=study.yaml", "--out=out/page.md", *options)
    rows: dict[str, Any] = json.loads(Path("out/page/small.json").read_text())["rows"]
    return {name: row["values"] for name, row in rows.items()}


def test_every_optimizer_has_a_curve_with_its_best_rate(study: Path) -> None:
    rows = report()
    assert rows.keys() == {LEARNED, INITIAL, *TUNED}
    starts = {values["mean"][0] for values in rows.values()}
    assert len(starts) == 1, "all start from the same φ"
    assert rows[LEARNED]["mean"][-1] < rows[LEARNED]["mean"][0]
    for name, values in rows.items():
        assert len(values["mean"]) == 1 + 4 and len(values["last"]) == 3
        assert values["mean"][-1] == pytest.approx(sum(values["last"]) / 3)
        if name in TUNED:
            assert values["tuning"][2] > min(values["tuning"]), "1e9 is no good"
    page = Path("out/page.md").read_text()
    assert "on small the learned optimizer is below every tuned one: " in page
    assert "no data is left out: " in page
    assert Path("out/page/curves.png").stat().st_size > 1000


def test_what_is_invalid_is_named(study: Path) -> None:
    with pytest.raises(InvalidInput, match="--only large: expected some of small, no data"):
        report("--only", "large")
    Path("study.yaml").write_text(STUDY.replace("draws: 3", "draws: 1"))
    with pytest.raises(InvalidInput, match="draws must be at least 2, got 1"):
        report()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 2.0, 9.0], [1.5, 2.6, 9.4], True),
        ([1.5, 2.6, 9.4], [1.0, 2.0, 9.0], False),
        ([1.0, 2.0, 9.0], [1.5, 1.6, 9.4], None),
        ([1.0, 2.0, 9.0], [1.5, float("inf"), 9.4], True),
        ([1.0, float("nan"), 9.0], [1.5, 1.0, 9.4], False),
    ],
)
def test_claims_need_paired_differences_beyond_two_standard_errors(
    one: list[float], other: list[float], expected: bool | None
) -> None:
    assert below({"last": one}, {"last": other}) is expected
    assert holds("best", {"SGD": True, "Adam": expected}) is expected
    assert holds("fails", {"SGD": True, "Adam": expected}) is (
        None if expected is None else not expected
    )


def test_the_shipped_optimizer_is_below_every_tuned_one_on_quadratics(study: Path) -> None:
    """100 functions that meta-training never saw, 100 steps, at the rates that the page found."""
    changes = {"0.5, 0.05, 1.0e+9": "0.032, 0.128, 0.256, 0.512", "[3]": "[10]"}
    changes |= {"steps: 4": "steps: 100", "tuning_draws: 2": "tuning_draws: 20"}
    text = STUDY
    for old, new in ({"    draws: 3": "    draws: 100"} | changes).items():
        text = text.replace(old, new)
    Path("study.yaml").write_text(text)
    rows = report("--only", "small")
    assert all(below(rows[LEARNED], rows[name]) for name in TUNED)
