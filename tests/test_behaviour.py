"""What the package is for: shipped rules are of use, and meta-training improves learners."""

import json
from pathlib import Path

import pytest
from conftest import lit_lul
from test_configs import CONFIGS

from lit_lul import load_learner
from lit_lul.evaluation.baselines import measure_baselines, some_baselines
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.networks import MLPs
from lit_lul.objectives import FewShotRidge


@pytest.mark.parametrize(
    ("name", "dataset", "gain"),
    [
        ("small", "digits", 0.15),
        ("broad", "digits", 0.15),
        ("broad", "topics", 0.15),
        ("layered", "digits", 0.03),  # of random networks it reads out the inputs too
        ("layered", "topics", 0.03),
        ("competitive", "digits", 0.03),  # its components start random
        ("competitive", "topics", 0.03),
    ],
)
def test_what_ships_beats_principal_components(name: str, dataset: str, gain: float) -> None:
    """By ridge; rules also gain on their networks at random initialisation."""
    held_out = HeldOut(
        dataset=dataset,
        networks=MLPs((2, 2), (96, 96)),
        inner_steps=40,
        points=1,
        batch_size=64,
        draws=6,
    )
    data, ridge = held_out.load(None), FewShotRidge()
    rule = load_learner(name)
    accuracy = roll_out_draws(rule, ridge, data, held_out, range(6)).accuracy[0]
    start, end = accuracy.mean(1).tolist()
    baselines = measure_baselines(
        ridge,
        data,
        held_out,
        rule.embedding_units,
        some_baselines(["raw inputs", "PCA"]),
    )
    assert end > float(baselines["PCA"].mean()) + 0.03
    assert end > float(baselines["raw inputs"].mean()) + 0.03
    assert end > start + gain


@pytest.mark.slow
def test_a_short_fit_beats_its_initial_theta(run_folder: Path) -> None:
    options = ["--trainer.max_steps=40", "--trainer.limit_val_batches=0"]
    curve = ["every_n_outer_steps=40", "inner_steps=20", "points=1", "draws=6"]
    options += [f"--held_out.digits.{setting}" for setting in curve]
    lit_lul("fit", "--config", str(CONFIGS / "quickstart.yaml"), *options)
    (file,) = run_folder.glob("runs/quickstart/version_0/digits_curve.json")
    numbers = json.loads(file.read_text())
    trained, initial = (numbers[name]["ridge"]["mean"][-1] for name in ("trained", "initial"))
    assert trained > initial + 0.02
