"""`report ablations`: from the folders of a sweep's runs to tables and verdicts."""

import json
from pathlib import Path

import pytest
import torch
from conftest import lit_lul

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.theta import save_learner
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from studies import ablations
from studies.ablations import Claim, check, mean_correlation

SETTINGS = UpdateSettings(
    hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.03
)
DIGITS = HeldOut(inner_steps=1, points=1, batch_size=8, tests_per_class=5, draws=2)


def write_run(number: int, variant: str, seed: int, batch_norm: bool = True) -> None:
    """A finished run of no length."""
    folder = Path("runs") / f"{number:03}" / "version_0"
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(seed)
    save_learner(UnsupervisedUpdate(SETTINGS), folder / "checkpoints" / "theta.safetensors")
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
    monkeypatch.setattr(ablations, "HELD_OUT", DIGITS)


def test_the_page_has_variants_planes_and_claims() -> None:
    for seed in (1, 2):
        write_run(seed, "full", seed)
        write_run(seed + 2, "without_hebb", seed)
    write_run(5, "no_batch_norm", 1, batch_norm=False)
    lit_lul("report", "ablations", "--runs", "runs", "--out", "out/page.md")
    page = Path("out/page.md").read_text()
    rows = {
        line.split(" | ")[0].strip("| "): line.replace("*", "").split(" | ")
        for line in page.splitlines()
    }
    assert rows["full"][3:] == ["65.0", rows["full"][4], "2.2", "2 |"]
    assert rows["full, initial θ"][2] == rows["full"][2], "the same random network"
    assert rows["full"][1] == rows["without hebb"][1], "the same θ and draws"
    assert rows["no batch norm"][5] == "1 |"
    assert "- **not resolved**: batch norm in the network helps (App. B): " in page
    assert "- **not resolved**: hebb helps: +0.0 ± 0.0 points, 2 seeds." in page
    assert "- **not resolved**: clipping gradients of θ helps (App. B): not measured." in page
    stored = json.loads(Path("out/page/runs.json").read_text())["rows"]
    full, other = (stored[f"{name}, seed 1"] for name in ("full", "no_batch_norm"))
    assert full["accuracy"]["ridge"] != other["accuracy"]["ridge"]


@pytest.mark.parametrize(
    ("worse", "numbers", "held"),
    [
        ([0.5, 0.6, 0.7], "+10.0 ± 0.0 points, 3 seeds", True),
        ([0.7, 0.8, 0.9], "-10.0 ± 0.0 points, 3 seeds", False),
        ([0.5, 0.8, 0.7], "+3.3 ± 6.7 points, 3 seeds", None),
        ([0.5], "+10.0 points, one seed", None),
        ([], "not measured", None),
    ],
)
def test_claims_are_of_pairs_of_the_same_seed(
    worse: list[float], numbers: str, held: bool | None
) -> None:
    accuracy = {"good": dict(enumerate([0.6, 0.7, 0.8])), "bad": dict(enumerate(worse))}
    assert check(accuracy, Claim("", "good", "bad")) == ("", numbers, held)


def test_correlations_are_those_of_pairs_of_different_units() -> None:
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    assert mean_correlation(torch.cat([x, -2 * x], 1)) == pytest.approx(1)
    assert mean_correlation(torch.cat([x, -2 * x, torch.ones(50, 1)], 1)) == pytest.approx(1 / 3)


def test_no_finished_run_is_one_line() -> None:
    with pytest.raises(InvalidInput, match="--runs nowhere: expected finished runs"):
        lit_lul("report", "ablations", "--runs", "nowhere")
