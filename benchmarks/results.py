"""Measure learners and baselines on held-out data, and write the report.

    python benchmarks/results.py --rules NAME_OR_PATH ... --config configs/results.yaml \
        --out docs/results.md

For every dataset under `held_out` of the configuration: raw inputs, principal components, k-means
features, all layers of a random network, the network at random initialisation, the untrained rule,
and the rules, all on the same draws. Beside `results.md` the folder `results` gets a JSON file per
dataset, with the accuracy of every draw, and a figure per probe. Numbers in these files are not
measured again while protocol, θ and precision are the same, so an interrupted run resumes, and
processes may share the datasets with --datasets. The report has the complete datasets.
"""

import argparse
import shlex
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from report import RANDOM_INITIALISATION, Report, write_report
from result_rows import DEVICE, PRECISIONS, Dataset
from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import BASELINES
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_curve import UNTRAINED_SEED
from lit_lul.evaluation.probes import ridge_of
from lit_lul.files.configs import load_config
from lit_lul.files.theta import load_learner
from lit_lul.learners.learner import Learner
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective
from lit_lul.training.allocator import keep_freed_memory

UNTRAINED = "untrained rule"


class Protocol(NamedTuple):
    """The protocol of a report, from a configuration."""

    held_out: dict[str, HeldOut]
    ridge: FewShotRidge
    """The ridge probe: the objective if it is one, else the default settings."""
    data_root: str | None
    """Folder of datasets, searched first."""
    compile: bool
    """Whether rules use compiled norms."""


def load_protocol(config: Path) -> Protocol:
    """Read the protocol from a configuration file.

    Raises:
        InvalidInput: when the file is missing or a value is invalid.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--held_out", type=dict[str, HeldOut], required=True)
    parser.add_argument("--objective", type=Objective, default=FewShotRidge())
    try:
        values: Any = OmegaConf.to_container(load_config(config), resolve=True)
        model = values.get("model", {})
        given = {"held_out": values.get("held_out")}
        if "objective" in model:
            given["objective"] = model["objective"]
        parsed = parser.parse_object(given)
    except (ArgumentError, OmegaConfBaseException) as error:
        raise InvalidInput(f"{config}: {' '.join(str(error).split())}") from error
    made = parser.instantiate(parsed)
    return Protocol(
        made.held_out,
        ridge_of(made.objective),
        values.get("data", {}).get("data_root"),
        bool(model.get("compile", False)),
    )


def load_learners(names: Sequence[str]) -> dict[str, Learner]:
    """Learners by file name, after an untrained one for each class and settings.

    Raises:
        InvalidInput: for a file that is missing or invalid, two of the same name, or different
            embedding widths.
    """
    rules = {Path(name).stem: load_learner(name) for name in names}
    if len(rules) < len(names) or rules.keys() & {*BASELINES, RANDOM_INITIALISATION, UNTRAINED}:
        raise InvalidInput(f"--rules {' '.join(names)}: expected files with names of their own")
    widths = sorted({rule.embedding_units for rule in rules.values()})
    if len(widths) > 1:
        raise InvalidInput(f"--rules: expected one number of embedding units, found {widths}")
    kinds: dict[str, Learner] = {}
    for name, rule in rules.items():
        if not any(_same_kind(rule, other) for other in kinds.values()):
            kinds[f"{UNTRAINED} ({name})" if kinds else UNTRAINED] = rule
    return {name: _untrained(rule) for name, rule in kinds.items()} | rules


def _same_kind(one: Learner, other: Learner) -> bool:
    return type(one) is type(other) and one.settings == other.settings


def _untrained(rule: Learner) -> Learner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        return type(rule)(rule.settings)


def run(args: argparse.Namespace) -> None:
    """Measure what is not stored yet, and write the report.

    Raises:
        InvalidInput: for an invalid option, rule, file or dataset.
    """
    if args.out.suffix != ".md":
        raise InvalidInput(f"--out {args.out}: expected a name that ends in .md")
    held_out, ridge, data_root, compile_rules = load_protocol(args.config)
    chosen = args.datasets or list(held_out)
    if unknown := [name for name in chosen if name not in held_out]:
        raise InvalidInput(f"--datasets {unknown[0]}: expected some of {', '.join(held_out)}")
    rules = load_learners(args.rules)
    units = rules[UNTRAINED].embedding_units
    for rule in rules.values():
        rule.to(DEVICE).prepare(compile=compile_rules)
    folder = args.out.with_suffix("")
    datasets = {
        name: Dataset(name, h, ridge, units, args.precision, folder / f"{name}.json", data_root)
        for name, h in held_out.items()
    }
    command = ["python", "benchmarks/results.py", "--rules", *args.rules]
    command += ["--config", str(args.config), "--out", str(args.out)]
    command += ["--precision", args.precision]
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for name in chosen:
        datasets[name].measure(rules, console)
        rows = {other: entry.rows(rules) for other, entry in datasets.items()}
        report = Report(
            shlex.join(command),
            args.precision,
            ridge,
            held_out,
            [Path(rule).stem for rule in args.rules],
            units,
            rows,
        )
        write_report(report, args.out)
        console.print(f"{name}: in {args.out}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse `arguments`, by default the command line's; measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rules", nargs="+", required=True, help="shipped rules or files of θ")
    parser.add_argument("--config", type=Path, default=Path("configs/results.yaml"))
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--datasets", nargs="+", help="measure only these")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    keep_freed_memory()
    try:
        run(parser.parse_args(arguments))
    except InvalidInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
