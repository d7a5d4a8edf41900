"""The command `report figures`: the figures of Metz et al. 2018 for rules of this project."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.report.page_path import page_path
from lit_lul.report.rules import UNTRAINED, load_learners
from lit_lul.report.rows import DEVICE
from lit_lul.report.time_left import time_left
from studies.figures.config import FiguresConfig, load_figures, make_panels
from studies.figures.context import Context
from studies.figures.page import FiguresPage, draw_panel, write_page
from studies.figures.panel import Panel
from studies.figures.run_thetas import KeptTheta, load_thetas


def figures(
    rules: list[str],
    only: list[str] | None = None,
    config: Path = Path("configs/figures.yaml"),
    out: Path = Path("docs/figures.md"),
    run: Path | None = None,
    quick: bool = False,
) -> None:
    """Measure the panels of the paper's figures 2 to 6, and write them with checks.

    Beside the page a folder of its name gets a JSON file per panel, with all numbers, and its
    picture as PNG and SVG. A measurement is stored at once and not repeated while all that it
    depends on is the same, so an interrupted panel resumes. Processes may share the panels with
    --only.

    Args:
        rules: shipped rules or files of θ; the first one has all panels.
        only: measure only these figures, by number, or panels, by name; the page has all that are
            measured.
        config: configuration of datasets, networks, steps and draws.
        out: the page, a markdown file.
        run: folder of a run that kept θ along its meta-training, for figures 3, 4 and 6.
        quick: few draws and steps, in files of their own, to see that everything works.

    Raises:
        InvalidInput: for an invalid option, rule or file.
    """
    out = page_path(out, quick)
    settings = load_figures(config, quick)
    settings = settings if run is None else replace(settings, run=run)
    panels = make_panels(settings, _context(rules, settings))
    chosen = _chosen(panels, only)
    command = ["python", "-m", "lit_lul", "report", "figures", "--rules", *rules]
    command += ["--config", str(config), "--out", str(out)]
    command += [] if settings.run is None else ["--run", str(settings.run)]
    command += ["--quick"] * quick
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    folder = out.with_suffix("")
    missing: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    for panel in panels:
        try:
            seconds[panel.name] = panel.seconds()
        except InvalidInput as error:
            missing[panel.name] = [str(error)]
            console.print(f"{panel.name}: left out ({error})")
    possible = [panel for panel in chosen if panel.name in seconds]
    page = FiguresPage(shlex.join(command), sum(seconds.values()), settings, panels, rules)
    tell = time_left(sum(panel.seconds(folder) for panel in possible), console)
    for panel in possible:
        try:
            missing[panel.name] = panel.measure(folder, tell)
        finally:  # when it is interrupted, too
            draw_panel(panel, folder)
            write_page(page, missing, out)
    write_page(page, missing, out)
    console.print(f"figures in {out}")


def _context(rules: list[str], settings: FiguresConfig) -> Context:
    learners = load_learners(rules, [])
    thetas: list[KeptTheta] = []
    missing = "--run: expected the folder of a run that kept θ" if settings.run is None else None
    if settings.run is not None:
        try:
            thetas = load_thetas(settings.run, settings.thetas)
        except InvalidInput as error:
            missing = str(error)
    for learner in [*learners.values(), *(theta.learner for theta in thetas)]:
        learner.to(DEVICE).prepare(compile=settings.compile)
    return Context(
        {Path(rule).stem: learners[Path(rule).stem] for rule in rules},
        learners[UNTRAINED],
        settings.datasets,
        settings.precision,
        settings.data_root,
        thetas,
        settings.run,
        missing,
    )


def _chosen(panels: list[Panel[Any]], only: list[str] | None) -> list[Panel[Any]]:
    known = [*dict.fromkeys(n for panel in panels for n in panel.figure), *(p.name for p in panels)]
    if unknown := [name for name in only or [] if name not in known]:
        raise InvalidInput(f"--only {unknown[0]}: expected some of {', '.join(known)}")
    return [p for p in panels if only is None or {p.name, *p.figure} & {*only}]
