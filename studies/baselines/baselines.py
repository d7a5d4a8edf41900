"""The command `report baselines`: rules beside every baseline, on a few datasets of images."""

import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import ALL_BASELINES
from lit_lul.report.page_path import page_path
from lit_lul.report.rules import UNTRAINED, load_learners
from lit_lul.report.stored_rows import DEVICE, Row
from lit_lul.report.suite_config import Suite, load_suite, quick_look
from lit_lul.report.suite_rows import Entry
from studies.baselines.baselines_page import write_baselines


def baselines(
    rules: list[str],
    config: Path = Path("configs/baselines.yaml"),
    out: Path = Path("docs/baselines.md"),
    quick: bool = False,
) -> None:
    """Measure rules and every baseline on some datasets, and write their tables.

    Files are those of `report suite`, and a row is not measured again while its settings are the
    same; rows may be copied from there.

    Args:
        rules: shipped rules or files of θ.
        config: datasets in the form of the suite's configuration; both halves are measured.
        out: the page, a markdown file.
        quick: few draws and steps, in files of their own, to see that everything works.

    Raises:
        InvalidInput: for an invalid option, rule or file.
    """
    out = page_path(out, quick)
    halves: list[Suite] = [load_suite(config, half) for half in ("development", "report")]
    command = ["python", "-m", "lit_lul", "report", "baselines", "--rules", *rules]
    command += ["--config", str(config), "--out", str(out), *["--quick"] * quick]
    if quick:
        halves = [quick_look(half) for half in halves]
    suite, folder = halves[0], out.with_suffix("")
    parts = {name: entry for half in halves for name, entry in half.entries.items()}
    learners = load_learners(rules, ALL_BASELINES)
    units = learners[UNTRAINED].embedding_units
    for learner in learners.values():
        learner.to(DEVICE).prepare(compile=suite.compile)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    measured: dict[str, Mapping[str, Row]] = {}
    missing: dict[str, str] = {}
    for number, (name, of_entry) in enumerate(parts.items(), 1):
        console.print(f"{name}: dataset {number} of {len(parts)}")
        entry = Entry(
            name,
            of_entry,
            suite.ridge,
            units,
            suite.precision,
            folder / f"{name}.json",
            suite.data_root,
            ALL_BASELINES,
        )
        try:
            data = entry.load()
        except InvalidInput as error:
            missing[name] = str(error)
            console.print(f"{name}: left out ({error})")
        else:
            entry.measure(data, learners, _since(console))
        if (rows := entry.rows(learners)) is not None:
            measured[name] = rows
        if measured:
            write_baselines(shlex.join(command), parts, measured, missing, [*learners], out)
    console.print(f"baselines in {out}")


def _since(console: Console) -> Callable[[str, int], None]:
    """A function that prints what has been measured, and the time since now."""
    start = time.monotonic()
    return lambda what, _: console.print(f"{what}, after {(time.monotonic() - start) / 60:.0f} min")
