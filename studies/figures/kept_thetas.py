"""θ that a run kept along its meta-training."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_learner
from lit_lul.learners.learner import Learner
from lit_lul.report.study import read_values


class KeptTheta(NamedTuple):
    """A learner with θ at one outer step of a run."""

    outer_step: int
    hours: float
    """Hours of meta-training until then."""
    learner: Learner


def load_thetas(run: Path, count: int) -> list[KeptTheta]:
    """Load some of the means of θ that a run kept, about evenly spaced in the log of the step.

    The first and the last are among them.

    Args:
        run: the run's folder; `keep_every_n_outer_steps` of its checkpoints was set.
        count: how many, two or more.

    Raises:
        InvalidInput: when there are fewer than two, or the run's log or configuration is missing.
    """
    files = {
        int(p.stem.split("_")[-1]): p for p in run.glob("checkpoints/mean_theta_*.safetensors")
    }
    if len(files) < 2:
        raise InvalidInput(
            f"{run}: expected a run's folder with means of θ, "
            "see checkpoint.keep_every_n_outer_steps"
        )
    steps = np.array(sorted(files))
    wanted = np.geomspace(steps[0], steps[-1], max(count, 2))
    chosen = sorted({int(steps[np.abs(np.log(steps / step)).argmin()]) for step in wanted})
    hours = hours_of(run, chosen)
    return [KeptTheta(step, hours[step], load_learner(files[step])) for step in chosen]


def hours_of(run: Path, steps: list[int]) -> dict[int, float]:
    """Hours of meta-training until outer steps of a run, from its log.

    The log has the hours left at its present speed; so it has the speed.

    Raises:
        InvalidInput: when the log or the configuration is missing or has no such column.
    """
    total = read_values(run / "config.yaml").get("trainer", {}).get("max_steps")
    try:
        with (run / "metrics.csv").open(newline="") as file:
            logged = [
                (int(row["step"]), float(row["train/hours_left"]))
                for row in csv.DictReader(file)
                if row.get("train/hours_left")
            ]
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{run / 'metrics.csv'}: expected the log of a run") from error
    speeds = [(step, left / (total - step)) for step, left in logged if step < total]
    if not speeds:
        raise InvalidInput(f"{run / 'metrics.csv'}: expected rows with train/hours_left")
    if max(steps) > speeds[-1][0]:
        speeds.append((max(steps), speeds[-1][1]))
    at, per_step = zip(*speeds, strict=True)
    elapsed = np.cumsum(np.diff([0, *at]) * np.array(per_step))
    return {step: float(np.interp(step, [0, *at], [0, *elapsed])) for step in steps}
