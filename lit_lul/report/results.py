"""The command `report results`: rules and baselines on the held-out data of a configuration.

For every dataset under `held_out` of the configuration: raw inputs, principal components, k-means
features, all layers of a random network, the network at random initialisation, the untrained rule,
and the rules, all on the same draws. Beside the report a folder of its name gets a JSON file per
dataset, with the accuracy of every draw, and a figure per probe. Numbers in these files are not
measured again while protocol, θ and precision are the same, so an interrupted run resumes, and
processes may share the datasets with --datasets. The report has the complete datasets.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import BASELINES
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.probes import ridge_of
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.held_out_entries import make_entries, read_values
from lit_lul.report.page_path import page_path
from lit_lul.report.result_rows import Dataset
from lit_lul.report.results_page import RANDOM_INITIALISATION, Report, write_report
from lit_lul.report.rules import UNTRAINED, load_learners
from lit_lul.report.stored_rows import DEVICE, Precision


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
    values = read_values(config)
    model = values.get("model", {})
    held_out, objective = make_entries(config, values.get("held_out"), model.get("objective"))
    return Protocol(
        held_out,
        ridge_of(objective),
        values.get("data", {}).get("data_root"),
        bool(model.get("compile", False)),
    )


def results(
    rules: list[str],
    config: Path = Path("configs/results.yaml"),
    out: Path = Path("docs/results.md"),
    datasets: list[str] | None = None,
    precision: Precision = "float32",
) -> None:
    """Measure rules and baselines on held-out data, and write the report.

    Args:
        rules: shipped rules or files of θ.
        config: configuration with the held-out datasets.
        out: the report, a markdown file; a folder beside it gets numbers and figures.
        datasets: measure only these.
        precision: precision of the hidden states.

    Raises:
        InvalidInput: for an invalid option, rule, file or dataset.
    """
    out = page_path(out)
    held_out, ridge, data_root, compile_rules = load_protocol(config)
    chosen = datasets or list(held_out)
    if unknown := [name for name in chosen if name not in held_out]:
        raise InvalidInput(f"--datasets {unknown[0]}: expected some of {', '.join(held_out)}")
    learners = load_learners(rules, {*BASELINES, RANDOM_INITIALISATION})
    units = learners[UNTRAINED].embedding_units
    for learner in learners.values():
        learner.to(DEVICE).prepare(compile=compile_rules)
    folder = out.with_suffix("")
    entries = {
        name: Dataset(name, h, ridge, units, precision, folder / f"{name}.json", data_root)
        for name, h in held_out.items()
    }
    command = ["python", "-m", "lit_lul", "report", "results", "--rules", *rules]
    command += ["--config", str(config), "--out", str(out), "--precision", precision]
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for name in chosen:
        entries[name].measure(learners, console)
        rows = {other: entry.rows(learners) for other, entry in entries.items()}
        stems = [Path(rule).stem for rule in rules]
        report = Report(shlex.join(command), precision, ridge, held_out, stems, units, rows)
        write_report(report, out)
        console.print(f"{name}: in {out}")
