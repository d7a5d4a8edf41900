"""Measure rules and baselines on held-out data, and write the report.

    python benchmarks/results.py --rules NAME_OR_PATH ... --config configs/results.yaml \
        --out docs/results.md

Every dataset under `held_out` of the configuration: raw inputs, principal components and k-means
features, the network as it is initialised, the untrained rule, and the rules, all on the same
draws. Beside `results.md` the folder `results` gets a JSON file per dataset, with the accuracy of
every draw, and a picture per probe. What these files hold is not measured again while protocol, θ
and precision are the same, so a run that was ended goes on, and processes may share the datasets
out with --datasets. The report has the datasets that are whole.
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
from result_rows import PRECISIONS, Dataset
from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import BASELINES
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_curve import UNTRAINED_SEED
from lit_lul.files.configs import load_config
from lit_lul.files.theta import load_rule
from lit_lul.learners.update_rule import RuleSettings, UnsupervisedUpdate
from lit_lul.learners.update_rule.norm import compile_norms
from lit_lul.objectives.few_shot_ridge import MetaObjective, ObjectiveSettings
from lit_lul.training.allocator import keep_freed_memory

UNTRAINED = "untrained rule"


class Protocol(NamedTuple):
    """What a configuration says of a report."""

    held_out: dict[str, HeldOut]
    objective: MetaObjective
    data_root: str | None
    """Folder of datasets."""
    compile: bool
    """Whether rules run with compiled norms."""


def load_protocol(config: Path) -> Protocol:
    """Read it.

    Raises:
        InvalidInput: when the file is missing or one of its values is wrong.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--held_out", type=dict[str, HeldOut], required=True)
    parser.add_argument("--objective", type=ObjectiveSettings, required=True)
    try:
        values: Any = OmegaConf.to_container(load_config(config), resolve=True)
        model = values.get("model", {})
        parsed = parser.parse_object(
            {"held_out": values.get("held_out"), "objective": model.get("objective")}
        )
    except (ArgumentError, OmegaConfBaseException) as error:
        raise InvalidInput(f"{config}: {' '.join(str(error).split())}") from error
    made = parser.instantiate(parsed)
    return Protocol(
        made.held_out,
        MetaObjective(made.objective),
        values.get("data", {}).get("data_root"),
        bool(model.get("compile", False)),
    )


def load_rules(names: Sequence[str]) -> dict[str, UnsupervisedUpdate]:
    """Rules by the names of their files, one untrained rule of each of their settings first.

    Raises:
        InvalidInput: when a rule cannot be had, two have the same name, or their networks differ.
    """
    rules = {Path(name).stem: load_rule(name) for name in names}
    if len(rules) < len(names) or rules.keys() & {*BASELINES, RANDOM_INITIALISATION, UNTRAINED}:
        raise InvalidInput(f"--rules {' '.join(names)}: expected files of names of their own")
    widths = sorted({rule.settings.embedding_units for rule in rules.values()})
    if len(widths) > 1:
        raise InvalidInput(f"--rules: expected one number of embedding units, found {widths}")
    settings: dict[str, RuleSettings] = {}
    for name, rule in rules.items():
        if rule.settings not in settings.values():
            settings[f"{UNTRAINED} ({name})" if settings else UNTRAINED] = rule.settings
    return {name: _untrained(s) for name, s in settings.items()} | rules


def _untrained(settings: RuleSettings) -> UnsupervisedUpdate:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        return UnsupervisedUpdate(settings)


def run(args: argparse.Namespace) -> None:
    """Measure what is not on file, and write the report.

    Raises:
        InvalidInput: for an option, rule, file or dataset that a person must change.
    """
    if args.out.suffix != ".md":
        raise InvalidInput(f"--out {args.out}: expected a name that ends in .md")
    held_out, objective, data_root, compile_rules = load_protocol(args.config)
    chosen = args.datasets or list(held_out)
    if unknown := [name for name in chosen if name not in held_out]:
        raise InvalidInput(f"--datasets {unknown[0]}: expected some of {', '.join(held_out)}")
    rules = load_rules(args.rules)
    if compile_rules:
        for rule in rules.values():
            compile_norms(rule)
    folder = args.out.with_suffix("")
    datasets = {
        name: Dataset(name, h, objective, args.precision, folder / f"{name}.json", data_root)
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
            objective.settings,
            held_out,
            [Path(rule).stem for rule in args.rules],
            rules[UNTRAINED].settings.embedding_units,
            rows,
        )
        write_report(report, args.out)
        console.print(f"{name}: in {args.out}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, with `arguments` in place of the process's own; measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rules", nargs="+", required=True, help="rules that ship, or files")
    parser.add_argument("--config", type=Path, default=Path("configs/results.yaml"))
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--datasets", nargs="+", help="measure these alone")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    keep_freed_memory()
    try:
        run(parser.parse_args(arguments))
    except InvalidInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
