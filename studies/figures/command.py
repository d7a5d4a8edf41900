"""The command `report figures`: the figures of Metz et al. 2018 for rules of this project."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.learners.learner import Learner
from lit_lul.report.page import ERRORS, Check, Page
from lit_lul.report.rows import DEVICE
from lit_lul.report.study import (
    MACHINE,
    DataCache,
    Machine,
    Study,
    initial_name,
    load_rules,
    page_path,
    parse,
    read_values,
    spell,
)
from studies.figures.dimensions import Dimensions
from studies.figures.few_labels import FewLabels
from studies.figures.filters import Filters
from studies.figures.kept_thetas import load_thetas
from studies.figures.measurements import Context
from studies.figures.meta_training import MetaTraining
from studies.figures.mismatch import Mismatch
from studies.figures.orders import Orders
from studies.figures.panel import MeasuredPanel, Panel
from studies.figures.prototypes import Prototypes
from studies.figures.transfer import Activations, Sizes

METHOD = f"""Figures 2 to 6 of Metz et al. 2018, measured with rules of this project. A claim holds,
or does not, where the difference that it speaks of is apart from zero by {ERRORS} standard errors
over the same draws, and otherwise is not resolved; a claim that accuracies are the same, where
their difference is as far inside or outside the points that it names. A claim about several
datasets or networks holds where it holds on each. Compute differs most: inner steps with gradient
in meta-training were 5.3·10⁸ in the paper, 8.1·10⁵ for `small` and 2.6·10⁵ for `broad`.

Accuracies are few-shot, mean ± standard error over the draws, by the ridge regression of the
meta-objective unless something else is said. *Inductive* embeds every labelled row alone, with
batch statistics of unlabelled rows; the paper's labelled rows shared their own. Every draw has its
own network, order of the inputs, labels and test examples. A *random network* is the network before
the inner loop. Networks are in the configuration, and
all numbers in the JSON files beside the pictures."""


@dataclass(frozen=True)
class FiguresConfig:
    """The configuration, with a section per panel in the order of the figures."""

    datasets: dict[str, HeldOut]
    """Held-out datasets by name."""
    run: Path | None = None
    """Folder of a run with kept θ."""
    thetas: int = 6
    """How many of them are measured."""
    mismatch: Mismatch = field(default_factory=Mismatch)
    prototypes: Prototypes = field(default_factory=Prototypes)
    orders: Orders = field(default_factory=Orders)
    meta_training: MetaTraining = field(default_factory=MetaTraining)
    few_labels: FewLabels = field(default_factory=FewLabels)
    sizes: Sizes = field(default_factory=Sizes)
    activations: Activations = field(default_factory=Activations)
    filters: Filters = field(default_factory=Filters)
    dimensions: Dimensions = field(default_factory=Dimensions)

    @property
    def panels(self) -> list[Panel[Any]]:
        """All panels."""
        values = [getattr(self, one.name) for one in fields(self)]
        return [value for value in values if isinstance(value, Panel)]


def load_figures(config: Path, quick: bool = False) -> tuple[FiguresConfig, Machine]:
    """Read the configuration; raises `InvalidInput` when it is missing or a value is invalid."""
    known = {one.name for one in fields(FiguresConfig)} | {*MACHINE, "shared"}
    values = read_values(config, known, quick)
    shared, own = (values.pop(key, None) or {} for key in ("shared", "datasets"))
    datasets = {name: {**shared, **(settings or {})} for name, settings in own.items()}
    settings = {name: value for name, value in values.items() if name not in MACHINE}
    read = parse(config, FiguresConfig, settings | {"datasets": datasets}, "figures")
    return read, Machine.read(config, values)


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
    settings, machine = load_figures(config, quick)
    settings = settings if run is None else replace(settings, run=run)
    learners = load_rules(rules, compiled=machine.compile)
    context = make_context(rules, learners, settings, machine)
    parts = [MeasuredPanel(panel, context) for panel in settings.panels]
    command = spell("figures", rules=rules, config=config, out=out, run=settings.run, quick=quick)
    Study("figures", parts, lambda rows: make_page(command, context, parts, rows)).run(out, only)


def make_context(
    rules: Sequence[str], learners: Mapping[str, Learner], settings: FiguresConfig, machine: Machine
) -> Context:
    """Rules by name or file, which `load_rules` has loaded, the data, and θ of the run."""
    names = [Path(rule).stem for rule in rules]
    context = Context(
        {name: learners[name] for name in names},
        learners[initial_name(names[0])],
        settings.datasets,
        machine.precision,
        DataCache(machine.data_root),
        run=settings.run,
        no_run="--run: expected the folder of a run that kept θ",
    )
    if settings.run is None:
        return context
    try:
        thetas = load_thetas(settings.run, settings.thetas)
    except InvalidInput as error:
        return replace(context, no_run=str(error))
    for theta in thetas:
        theta.learner.to(DEVICE).prepare(compile=machine.compile)
    return replace(context, thetas=thetas, no_run=None)


def make_page(
    command: str,
    context: Context,
    parts: Sequence[MeasuredPanel[Any]],
    rows: Mapping[str, Mapping[str, Any]],
) -> Page:
    """The page of what is stored."""
    sections = {p.title: p.blocks(rows[p.name]) for p in parts if rows.get(p.name)}
    checks = [one for blocks in sections.values() for one in blocks if isinstance(one, Check)]
    counts = []
    for rule in context.rules:
        held = [check.held for check in checks if f"`{rule}`" in check.claim]
        counts.append(
            f"`{rule}` meets {held.count(True)} of {len(held)} and fails {held.count(False)}"
        )
    finding = f"Of the paper's claims about a rule, {', '.join(counts)}; the rest is not resolved."
    precision = f"Hidden states are in {context.precision}."
    return Page(
        "The paper's figures", finding, command, sections=sections, method=f"{METHOD} {precision}"
    )
