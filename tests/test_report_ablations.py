"""`report ablations`: from the folders of a sweep's runs to tables and verdicts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import lit_lul
from test_results import write_rule

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.report.stored_rows import Row
from studies.ablations import ablation_runs, ablations
from studies.ablations.ablation_runs import AblationRun, mean_correlation
from studies.ablations.ablations import Claim, Measured, verdict

DIGITS = HeldOut(inner_steps=1, points=1, batch_size=8, tests_per_class=5, draws=2)


def write_run(number: int, variant: str, seed: int, batch_norm: bool = True) -> None:
    """A finished run of no length."""
    folder = Path("runs") / f"{number:03}" / "version_0"
    (folder / "checkpoints").mkdir(parents=True)
    write_rule(folder / "checkpoints" / "theta.safetensors", seed=seed)
    config = {"data": {"networks": {"init_args": {"batch_norm": batch_norm}}}}
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "metrics.csv").write_text("step,train/gradient_norm\n1,0.5\n2,\n3,2.25\n4,1.0\n")
    run = {
        "values": {"config": f"sweeps/ablations/{variant}.yaml", "seed_everything": seed},
        "folder": "version_0",
        "seconds": 90.0,
        "metrics": {"step": 4, "val/accuracy": 0.5 + seed / 10},
    }
    (folder.parent / "run.json").write_text(json.dumps(run))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (ablation_runs, ablations):
        monkeypatch.setattr(module, "HELD_OUT", DIGITS)


def test_the_page_has_variants_planes_and_claims() -> None:
    for seed in (1, 2):
        write_run(seed, "full", seed)
        write_run(seed + 2, "without_hebb", seed)
    write_run(5, "no_batch_norm", 1, batch_norm=False)
    lit_lul("report", "ablations", "--runs", "runs", "--out", "out/page.md")
    page = Path("out/page.md").read_text()
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in page.splitlines()}
    assert rows["full"][1] == "2"
    assert rows["full"][3] == "65.0% ± 5.0%"
    assert rows["full"][5] == "2.2 |"
    assert rows["full"][2] == rows["without hebb"][2], "the same θ on the same draws"
    assert rows["no batch norm"][1] == "1"
    assert "- batch norm in the network helps (App. B): not resolved at this cost: " in page
    assert "- without `hebb`: not resolved at this cost: +0.0 ± 0.0 points, 2 seeds." in page
    assert "- clipping gradients of θ helps (App. B): not measured." in page
    stored = json.loads(Path("out/page/runs.json").read_text())["rows"]
    full, other = (stored[f"{name}, seed 1"] for name in ("full", "no_batch_norm"))
    assert full["accuracy"]["ridge"] != other["accuracy"]["ridge"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation_runs, "roll_out_draws", None)  # nothing is measured again
        lit_lul("report", "ablations", "--runs", "runs", "--out", "out/page.md")
    assert Path("out/page.md").read_text() == page


@pytest.mark.parametrize(
    ("worse", "expected"),
    [
        ([0.5, 0.6, 0.7], "**held**: +10.0 ± 0.0 points, 3 seeds"),
        ([0.7, 0.8, 0.9], "**did not hold**: -10.0 ± 0.0 points, 3 seeds"),
        ([0.5, 0.8, 0.7], "not resolved at this cost: +3.3 ± 6.7 points, 3 seeds"),
        ([0.5], "not resolved at this cost: +10.0 points, one seed"),
        ([], "not measured"),
    ],
)
def test_verdicts_are_of_pairs_of_the_same_seed(worse: list[float], expected: str) -> None:
    run = AblationRun("", 0, Path(), 1, 0.5, 1.0)

    def measured(accuracies: list[float]) -> dict[int, Measured]:
        rows = (Row("", [0, 9], {"ridge": [[0.1, 0.1], [a, a]]}) for a in accuracies)
        return {s: Measured(replace(run, seed=s), row) for s, row in enumerate(rows)}

    both = {"good": measured([0.6, 0.7, 0.8]), "bad": measured(worse)}
    assert verdict(both, Claim("", "good", "bad")) == expected


def test_correlations_are_those_of_pairs_of_different_units() -> None:
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    assert mean_correlation(torch.cat([x, -2 * x], 1)) == pytest.approx(1)
    assert mean_correlation(torch.cat([x, -2 * x, torch.ones(50, 1)], 1)) == pytest.approx(1 / 3)


def test_no_finished_run_is_one_line() -> None:
    with pytest.raises(InvalidInput, match="--runs nowhere: expected finished runs"):
        lit_lul("report", "ablations", "--runs", "nowhere")
