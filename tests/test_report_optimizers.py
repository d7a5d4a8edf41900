"""The report on learned optimizers: rates, rows between runs, the claims, and what ships."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import lit_lul
from test_configs import CONFIGS

from lit_lul.errors import InvalidInput
from studies.optimizers.optimizer_curves import BASELINES, LEARNED
from studies.optimizers.optimizers import load_study
from studies.optimizers.optimizers_page import _compare

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
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("study.yaml").write_text(STUDY)
    return tmp_path


def report(*options: str) -> dict[str, Any]:
    """The rows of the small problem after a report."""
    lit_lul("report", "optimizers", "--config=study.yaml", "--out=out/page.md", *options)
    rows: dict[str, Any] = json.loads(Path("out/page/small.json").read_text())["rows"]
    return {name: row["values"] for name, row in rows.items()}


def test_every_optimizer_has_a_curve_with_its_best_rate(study: Path) -> None:
    rows = report()
    assert rows.keys() == {LEARNED, *BASELINES}
    starts = {values["mean"][0] for values in rows.values()}
    assert len(starts) == 1, "all start from the same φ"
    assert rows[LEARNED]["mean"][-1] < rows[LEARNED]["mean"][0]
    for name, values in rows.items():
        assert len(values["mean"]) == 1 + 4 and len(values["last"]) == 3
        assert values["mean"][-1] == pytest.approx(sum(values["last"]) / 3)
        if name != LEARNED:
            assert values["tuning"][2] > min(values["tuning"]), "1e9 is no good"
    page = Path("out/page.md").read_text()
    assert "| small | 4 | 3 | " in page and "**small**: learned is " in page
    assert "no data is left out: " in page
    assert Path("out/page/curves.png").stat().st_size > 1000


def test_an_interrupted_report_resumes(study: Path) -> None:
    before = report()
    file = Path("out/page/small.json")
    content = json.loads(file.read_text())
    content["rows"]["Adam"]["values"]["last"] = [9.0, 9.0, 9.0]  # is kept
    content["rows"]["SGD"]["key"] = "of other settings"  # is measured again
    file.write_text(json.dumps(content))
    after = report()
    assert after["Adam"]["last"] == [9.0, 9.0, 9.0]
    assert after["SGD"] == before["SGD"]
    shutil.rmtree("out")
    assert report() == before, "draws do not depend on the run"


def test_what_is_invalid_is_named(study: Path) -> None:
    with pytest.raises(InvalidInput, match="--only large: expected some of small, no data"):
        report("--only", "large")
    Path("study.yaml").write_text(STUDY.replace("draws: 3", "draws: 1"))
    with pytest.raises(InvalidInput, match="draws 1: expected two or more"):
        report()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 2.0, 9.0], [1.5, 2.6, 9.4], -1),
        ([1.5, 2.6, 9.4], [1.0, 2.0, 9.0], 1),
        ([1.0, 2.0, 9.0], [1.5, 1.6, 9.4], 0),
        ([1.0, 2.0, 9.0], [1.5, float("inf"), 9.4], -1),
        ([1.0, float("nan"), 9.0], [1.5, 1.0, 9.4], 1),
    ],
)
def test_claims_need_paired_differences_beyond_the_interval(
    one: list[float], other: list[float], expected: int
) -> None:
    rows = [{"last": last, "mean": [sum(last) / 3]} for last in (one, other)]
    assert _compare(rows[0], rows[1]) == expected


def test_the_shipped_optimizer_is_below_every_tuned_one_on_quadratics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 functions that meta-training never saw, 100 steps."""
    monkeypatch.chdir(tmp_path)
    options = ["--config", str(CONFIGS / "optimizers.yaml"), "--only", "quadratics"]
    assert len(load_study(CONFIGS / "optimizers.yaml").rates) >= 10
    lit_lul("report", "optimizers", *options, "--out=page.md")
    page = Path("page.md").read_text()
    assert "below SGD, momentum, RMSprop, Adam. The paper's claim, below all of them: held." in page
