"""The commands `report suite` and `report results`: rules and baselines on held-out datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import RANDOM_EMBEDDING, RANDOM_NETWORK, some_baselines
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.probes import ridge_of
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective
from lit_lul.report.comparison import BEFORE, Section, comparison_page
from lit_lul.report.entry import PROTOCOLS, Entry, Methods, column
from lit_lul.report.rows import Precision
from lit_lul.report.study import (
    MACHINE,
    DataCache,
    Machine,
    Study,
    choose,
    load_rules,
    page_path,
    parse,
    read_values,
    spell,
)

Half = Literal["development", "report"]
KEYS = {*MACHINE, "page", "shared", *get_args(Half)}
PLAIN = ("raw inputs", "PCA", "k-means", RANDOM_NETWORK)
"""Baselines of the results; nothing is whitened."""
MORE_NAMES = (
    "raw inputs",
    "PCA",
    "whitened PCA",
    "k-means",
    "whitened k-means",
    "PCA and k-means",
    RANDOM_EMBEDDING,
    RANDOM_NETWORK,
)
"""Baselines of the suite."""


@dataclass(frozen=True)
class Suite:
    """Entries of one configuration, a section of a page.

    Attributes:
        entries: parts of every entry by name; the accuracy of an entry is over all its parts.
        machine: precision, compilation and folder of datasets.
        config: the configuration.
        pages: configurations that are on one page, this one among them.
        half: which half of the suite; None for results with curves.
        ridge: the ridge probe.
    """

    entries: Mapping[str, Sequence[HeldOut]]
    machine: Machine
    config: Path
    pages: Sequence[Path]
    half: Half | None = None
    ridge: FewShotRidge = FewShotRidge()  # noqa: RUF009  # frozen

    @property
    def section(self) -> str:
        """End of the name of its folder."""
        return self.config.stem.removeprefix(self.pages[0].stem) + "_report" * (
            self.half == "report"
        )

    def on_page(self, methods: Methods, cache: DataCache) -> Section:
        """Its section."""
        part = next(iter(self.entries.values()))[0]
        curve = self.half is None
        entries = [
            Entry(name, parts, methods, self.machine, cache, self.section, curve)
            for name, parts in self.entries.items()
        ]
        names = [*methods.baselines, *[BEFORE] * curve]
        of = part.protocol.capitalize() if self.half is None else f"{self.half.capitalize()} half"
        return Section(
            f"{of}, {part.inner_steps:,} inner steps",
            entries,
            {"baselines": names, "rules": [*methods.rules]},
            {p.capitalize(): p for p in part.probes} if curve else headings(part, PROTOCOLS),
        )


def headings(part: HeldOut, protocols: Sequence[str]) -> dict[str, str]:
    """Names of accuracies by heading; the suite's logistic regression is cross-validated."""
    return {
        column(probe.removesuffix("_cv"), protocol).capitalize(): column(probe, protocol)
        for probe in part.probes
        for protocol in protocols
    }


def load_suite(config: Path, half: Half, quick: bool = False) -> Suite:
    """Read one half of the suite from a configuration file; it may have no entries.

    The settings of an entry are those of `shared` and its own. An entry whose `dataset` is a list
    has a part for each.

    Raises:
        InvalidInput: when the file is missing or a value is invalid.
    """
    values = read_values(config, KEYS, quick)
    settings: dict[str, list[dict[str, Any]]] = {}
    for name, own in (values.get(half) or {}).items():
        both = {**(values.get("shared") or {}), **(own or {})}
        datasets = both.pop("dataset", "digits")
        parts = datasets if isinstance(datasets, list) else [datasets]
        settings[name] = [{**both, "dataset": part} for part in parts]
    entries = parse(config, dict[str, list[HeldOut]], settings, "datasets") if settings else {}
    return Suite(entries, Machine.read(config, values), config, _pages(config, values), half)


def load_results(config: Path) -> Suite:
    """Read the held-out data of a configuration, which may be that of a meta-training.

    Raises:
        InvalidInput: when the file is missing or a value is invalid.
    """
    values = read_values(config)
    model = values.get("model", {})
    entries = parse(config, dict[str, HeldOut], values.get("held_out"), "held_out")
    objective = FewShotRidge()
    if given := model.get("objective"):
        objective = parse(config, Objective, given, "objective")
    machine = {
        "precision": values.get("precision", "float32"),
        "compile": bool(model.get("compile")),
        "data_root": values.get("data", {}).get("data_root"),
    }
    return Suite(
        {name: [entry] for name, entry in entries.items()},
        Machine.read(config, machine),
        config,
        _pages(config, values),
        ridge=ridge_of(objective),
    )


def _pages(config: Path, values: Mapping[str, Any]) -> list[Path]:
    """Configurations on the page of this one: those that its key `page` names, or itself alone."""
    named = [config.with_name(name) for name in values.get("page") or []]
    return named if config.stem in [page.stem for page in named] else [config]


def suite(
    rules: list[str],
    half: Half = "development",
    only: list[str] | None = None,
    config: Path = Path("configs/suite.yaml"),
    out: Path = Path("docs/suite.md"),
    quick: bool = False,
) -> None:
    """Measure rules and baselines on the suite, and write its tables.

    The page has both halves, and those of the configurations that share it, as far as they are
    measured. Beside it folders of its name get a JSON file per dataset, with the accuracy of every
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
    measured = load_suite(config, half, quick)
    if not measured.entries:
        raise InvalidInput(f"{config}: expected datasets under {half}")
    every = [load_suite(page, h, quick) for page in measured.pages for h in get_args(Half)]
    suites = [s for s in every if s.entries and (s.section == measured.section or _begun(s, out))]
    methods = Methods(
        some_baselines(MORE_NAMES), load_rules(rules, MORE_NAMES, measured.machine.compile)
    )
    cache = DataCache(measured.machine.data_root)
    sections = [s.on_page(methods, cache) for s in suites]
    command = "\n".join(
        spell("suite", rules=rules, half=s.half, config=s.config, out=out, quick=quick)
        for s in suites
    )
    about = f"Choices are made on the development half. Hidden states: {_precisions(suites)}."
    page = partial(comparison_page, "The suite: rules beside baselines", command, sections, about)
    entries = [entry for section in sections for entry in section.entries]
    mine = choose([entry for entry in entries if entry.section == measured.section], only)
    Study("suite", entries, page).run(out, [entry.name for entry in mine])


def results(
    rules: list[str],
    config: Path = Path("configs/results.yaml"),
    out: Path = Path("docs/results.md"),
    datasets: list[str] | None = None,
    precision: Precision | None = None,
) -> None:
    """Measure curves of rules, and baselines, on held-out data, and write the report.

    Beside the page folders of its name get a JSON file per dataset, with the accuracy of every draw
    at every probed step, and a figure per probe. Numbers in these files are not measured again
    while protocol, θ and precision are the same, so an interrupted run resumes. The page has the
    configurations that share it, as far as they are measured.

    Args:
        rules: shipped rules or files of θ.
        config: configuration with the held-out datasets.
        out: the page, a markdown file.
        datasets: measure only these; the page has all that are measured.
        precision: precision of the hidden states, by default the configuration's or float32.

    Raises:
        InvalidInput: for an invalid option, rule, file or dataset.
    """
    out = page_path(out)
    measured = load_results(config)
    if unknown := [name for name in datasets or [] if name not in measured.entries]:
        known = ", ".join(measured.entries)
        raise InvalidInput(f"--datasets {unknown[0]}: expected some of {known}")
    if precision is not None:
        measured = replace(measured, machine=measured.machine._replace(precision=precision))
    others = [load_results(page) for page in measured.pages if page.stem != config.stem]
    suites = sorted(
        [measured, *(other for other in others if _begun(other, out))],
        key=lambda s: [page.stem for page in measured.pages].index(s.config.stem),
    )
    learners = load_rules(rules, {*PLAIN, BEFORE}, measured.machine.compile)
    cache = DataCache(measured.machine.data_root)
    sections = [s.on_page(Methods(some_baselines(PLAIN), learners, s.ridge), cache) for s in suites]
    command = "\n".join(
        spell("results", rules=rules, config=s.config, out=out, precision=s.machine.precision)
        for s in suites
    )
    about = f"Labels are those of the test split. Hidden states: {_precisions(suites)}."
    page = partial(comparison_page, "Results on held-out data", command, sections, about)
    entries = [entry for section in sections for entry in section.entries]
    mine = choose([entry for entry in entries if entry.section == measured.section], datasets)
    Study("results", entries, page).run(out, [entry.name for entry in mine])


def _begun(suite: Suite, out: Path) -> bool:
    return out.with_name(out.stem + suite.section).is_dir()


def _precisions(suites: Sequence[Suite]) -> str:
    return ", ".join(dict.fromkeys(f"{s.machine.precision} ({s.config.stem})" for s in suites))
