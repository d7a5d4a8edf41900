"""The command `report suite`: rules and baselines on the datasets of the suite."""

import shlex
from pathlib import Path

from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import MORE_BASELINES
from lit_lul.report.page_path import page_path
from lit_lul.report.rules import UNTRAINED, load_learners
from lit_lul.report.stored_rows import DEVICE
from lit_lul.report.suite_config import Half, load_suite, quick_look
from lit_lul.report.suite_page import SuitePage, write_suite
from lit_lul.report.suite_rows import Entry
from lit_lul.report.time_left import time_left


def suite(
    rules: list[str],
    half: Half = "development",
    only: list[str] | None = None,
    config: Path = Path("configs/suite.yaml"),
    out: Path = Path("docs/suite.md"),
    quick: bool = False,
) -> None:
    """Measure rules and baselines on the suite, and write its tables.

    Beside the page a folder of its name gets a JSON file per dataset, with the accuracy of every
    draw, and a picture. Numbers in these files are not measured again while settings, θ and
    precision are the same, so an interrupted run resumes.

    Args:
        rules: shipped rules or files of θ.
        half: development for every choice, report when a choice has been made.
        only: measure only these datasets; the page has all that are measured.
        config: the suite's configuration.
        out: the page, a markdown file.
        quick: few draws and steps, in files of their own, to see that everything works.

    Raises:
        InvalidInput: for an invalid option, rule or file.
    """
    out = page_path(out, quick)
    chosen = load_suite(config, half)
    if quick:
        chosen = quick_look(chosen)
    if unknown := [name for name in only or [] if name not in chosen.entries]:
        raise InvalidInput(f"--only {unknown[0]}: expected some of {', '.join(chosen.entries)}")
    learners = load_learners(rules, MORE_BASELINES)
    units = learners[UNTRAINED].embedding_units
    for learner in learners.values():
        learner.to(DEVICE).prepare(compile=chosen.compile)
    folder, root = out.with_suffix(""), chosen.data_root
    entries = {
        name: Entry(
            name, parts, chosen.ridge, units, chosen.precision, folder / f"{name}.json", root
        )
        for name, parts in chosen.entries.items()
    }
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    command = ["python", "-m", "lit_lul", "report", "suite", "--rules", *rules]
    command += ["--half", half, "--config", str(config), "--out", str(out), *["--quick"] * quick]
    sources = {name: entry.source for name, entry in entries.items()}
    missing: dict[str, str] = {}
    tell = time_left(sum(entries[name].work(learners) for name in only or entries), console)
    for name in only or entries:
        try:
            data = entries[name].load()
        except InvalidInput as error:
            missing[name] = str(error)
            console.print(f"{name}: left out ({error})")
        else:
            entries[name].measure(data, learners, tell)
        rows = {other: entry.rows(learners) for other, entry in entries.items()}
        page = SuitePage(shlex.join(command), half, chosen, units, sources, rows, missing)
        write_suite(page, out)
    console.print(f"suite in {out}")
