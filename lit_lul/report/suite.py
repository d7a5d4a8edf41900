"""The commands `report suite` and `report results`: rules and baselines on held-out datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import RANDOM_EMBEDDING, RANDOM_NETWORK, some_baselines
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.probes import ridge_of
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective
from lit_lul.report.comparison import BEFORE, Entry, Methods, Section, comparison_page
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


class Kind(NamedTuple):
    """What distinguishes the two commands: title, remark, names of baselines, name of an option."""

    command: str
    title: str
    about: str
    baselines: Sequence[str]
    only: str


RESULTS = Kind(
    "results",
    "Results on held-out data",
    "Labels are those of the test split.",
    ("raw inputs", "PCA", "k-means", RANDOM_NETWORK),
    "datasets",
)
SUITE = Kind(
    "suite",
    "The suite: rules beside baselines",
    "Choices are made on the development half.",
    (
        "raw inputs",
        "PCA",
        "whitened PCA",
        "k-means",
        "whitened k-means",
        "PCA and k-means",
        RANDOM_EMBEDDING,
        RANDOM_NETWORK,
    ),
    "only",
)


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
    half: Half | None
    ridge: FewShotRidge

    @property
    def section(self) -> str:
        """End of the name of its folder."""
        own = self.config.stem.removeprefix(self.pages[0].stem)
        return f"{own}_report" if self.half == "report" else own

    def on_page(self, methods: Methods, cache: DataCache) -> Section:
        """Its section."""
        part, curve = next(iter(self.entries.values()))[0], self.half is None
        entries = [
            Entry(n, parts, methods, self.machine.precision, cache, self.section, curve)
            for n, parts in self.entries.items()
        ]
        of = part.protocol.capitalize() if self.half is None else f"{self.half.capitalize()} half"
        return Section(f"{of}, {part.inner_steps:,} inner steps", entries)


def load_suite(config: Path, half: Half | None, quick: bool = False) -> Suite:
    """Read one half of the suite from a configuration file; it may have no entries.

    The settings of an entry are those of `shared` and its own. An entry whose `dataset` is a list
    has a part for each. Without a half, entries are those of `held_out`, such as in the
    configuration of a meta-training.

    Raises:
        InvalidInput: when the file is missing or a value is invalid.
    """
    values = read_values(config, KEYS if half else None, quick)
    settings: dict[str, list[dict[str, Any]]] = {}
    for name, own in (values.get(half or "held_out") or {}).items():
        both = {**(values.get("shared") or {}), **(own or {})}
        datasets = both.pop("dataset", "digits")
        parts = datasets if isinstance(datasets, list) else [datasets]
        settings[name] = [{**both, "dataset": part} for part in parts]
    entries = parse(config, dict[str, list[HeldOut]], settings, "datasets") if settings else {}
    objective: Objective = FewShotRidge()
    if half is None:
        model = values.get("model", {})
        values["compile"] = bool(model.get("compile"))
        values["data_root"] = values.get("data", {}).get("data_root")
        if given := model.get("objective"):
            objective = parse(config, Objective, given, "objective")
    pages = [config.with_name(name) for name in values.get("page") or []]
    pages = pages if config.stem in [page.stem for page in pages] else [config]
    machine = Machine.read(config, values)
    return Suite(entries, machine, config, pages, half, ridge_of(objective))


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
    _compare(SUITE, rules, config, half, out, only, quick=quick)


def results(
    rules: list[str],
    config: Path = Path("configs/results.yaml"),
    out: Path = Path("docs/results.md"),
    datasets: list[str] | None = None,
    precision: Precision | None = None,
) -> None:
    """Measure curves of rules, and baselines, on held-out data, and write the report.

    Page and files are like those of `report suite`, with the accuracy at every probed step, and a
    figure per probe.

    Args:
        rules: shipped rules or files of θ.
        config: configuration with the held-out datasets.
        out: the page, a markdown file.
        datasets: measure only these; the page has all that are measured.
        precision: precision of the hidden states, by default the configuration's or float32.

    Raises:
        InvalidInput: for an invalid option, rule or file.
    """
    _compare(RESULTS, rules, config, None, out, datasets, precision=precision)


def _compare(
    kind: Kind,
    rules: Sequence[str],
    config: Path,
    half: Half | None,
    out: Path,
    only: Sequence[str] | None,
    quick: bool = False,
    precision: Precision | None = None,
) -> None:
    """Measure one suite; its page has all suites that share it, as far as they are measured."""
    out = page_path(out, quick)
    measured = load_suite(config, half, quick)
    if not measured.entries:
        raise InvalidInput(f"{config}: expected datasets under {half or 'held_out'}")
    if precision is not None:
        measured = replace(measured, machine=measured.machine._replace(precision=precision))
    suites = []
    for shared in measured.pages:
        for other in get_args(Half) if half else [None]:
            loaded = load_suite(shared, other, quick)
            if loaded.section == measured.section:
                suites.append(measured)
            elif loaded.entries and out.with_name(out.stem + loaded.section).is_dir():
                suites.append(loaded)
    learners = load_rules(rules, {*kind.baselines, BEFORE}, measured.machine.compile)
    baselines = {"baselines": some_baselines(kind.baselines)}
    cache = DataCache(measured.machine.data_root)
    sections = [s.on_page(Methods(baselines, learners, s.ridge), cache) for s in suites]
    command = "\n".join(
        spell(
            kind.command,
            rules=rules,
            half=s.half,
            config=s.config,
            out=out,
            quick=quick,
            precision=None if half else s.machine.precision,
        )
        for s in suites
    )
    precisions = dict.fromkeys(f"{s.machine.precision} ({s.config.stem})" for s in suites)
    about = f"{kind.about} Hidden states: {', '.join(precisions)}."
    page = partial(comparison_page, kind.title, command, sections, about)
    entries = [entry for section in sections for entry in section.entries]
    mine = [entry for entry in entries if entry.section == measured.section]
    chosen = [entry.name for entry in choose(mine, only, kind.only)]
    Study(kind.command, entries, page).run(out, chosen)
