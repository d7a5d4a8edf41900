"""The command `report optimizers`: learned optimizers beside tuned ones."""

import shlex
from argparse import ArgumentError
from dataclasses import dataclass, replace
from pathlib import Path

from jsonargparse import ArgumentParser
from rich.console import Console
from rich.progress import track

from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_learner
from lit_lul.learners import LSTMOptimizer
from lit_lul.report.held_out_entries import read_values
from lit_lul.report.page_path import page_path
from studies.optimizers.optimizer_curves import Measured, Problem
from studies.optimizers.optimizers_page import write_page


@dataclass(frozen=True)
class Study:
    """Problems, and what they have in common.

    Raises:
        InvalidInput: without problems or rates.
    """

    problems: dict[str, Problem]
    """Settings by name."""
    rates: list[float]
    """Rates that every baseline is tuned over."""
    data_root: str | None = None
    """Folder that is searched for datasets first."""

    def __post_init__(self) -> None:
        if not self.problems or not self.rates:
            raise InvalidInput("optimizers: expected problems and rates")


def optimizers(
    only: list[str] | None = None,
    config: Path = Path("configs/optimizers.yaml"),
    out: Path = Path("docs/optimizers.md"),
    quick: bool = False,
) -> None:
    """Measure learned optimizers beside SGD, momentum, RMSprop and Adam with tuned rates.

    Beside the page a folder of its name gets a JSON file per problem and a picture. Numbers in
    these files are not measured again while settings and θ are the same, so an interrupted run
    resumes. Problems without data or learner are left out.

    Args:
        only: measure only these problems; the page has all that are measured.
        config: the problems.
        out: the page, a markdown file.
        quick: few draws, steps and rates, in files of their own, to see that everything works.

    Raises:
        InvalidInput: for an invalid option or file.
    """
    out = page_path(out, quick)
    study = load_study(config)
    command = ["python", "-m", "lit_lul", "report", "optimizers"]
    command += ["--config", str(config), "--out", str(out), *["--quick"] * quick]
    if quick:
        study = quick_look(study)
    if unknown := [name for name in only or [] if name not in study.problems]:
        raise InvalidInput(f"--only {unknown[0]}: expected some of {', '.join(study.problems)}")
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    every: dict[str, Measured] = {}
    missing: dict[str, str] = {}
    for name, problem in study.problems.items():
        try:
            learner = _load(problem.learner)
            path = out.with_suffix("") / f"{name.replace(', ', '_').replace(' ', '_')}.json"
            every[name] = Measured(name, problem, learner, study.rates, path)
            if todo := every[name].missing() if name in (only or study.problems) else []:
                tasks, _ = problem.source.load(name, study.data_root)
                for optimizer in track(todo, name, console=console):
                    every[name].measure(optimizer, tasks)
        except InvalidInput as error:
            missing[name] = str(error)
            console.print(f"{name}: left out ({error})")
        write_page(shlex.join(command), every, missing, out)
    console.print(f"optimizers in {out}")


def load_study(config: Path) -> Study:
    """Read the problems from a configuration file.

    Raises:
        InvalidInput: when the file is missing or a value is invalid.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Study, "study")
    try:
        study: Study = parser.instantiate(parser.parse_object({"study": read_values(config)})).study
    except ArgumentError as error:
        raise InvalidInput(f"{config}: {' '.join(str(error).split())}") from error
    return study


def quick_look(study: Study) -> Study:
    """The same with few draws, steps and rates, for a look at whether everything works."""
    problems = {
        name: replace(problem, steps=3, draws=2, tuning_draws=1, batch_size=8, labels_per_class=2)
        for name, problem in study.problems.items()
    }
    return replace(study, problems=problems, rates=study.rates[::6])


def _load(name: str) -> LSTMOptimizer:
    """A learned optimizer by name or file."""
    learner = load_learner(name)
    if not isinstance(learner, LSTMOptimizer):
        raise InvalidInput(f"{name}: holds θ of {type(learner).__name__}, expected LSTMOptimizer")
    return learner
