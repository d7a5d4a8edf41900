"""The command `report suite`: rules and baselines on the datasets of the suite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy.stats import rankdata, t

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import RANDOM_EMBEDDING, RANDOM_NETWORK, some_baselines
from lit_lul.evaluation.features import CENTROIDS, COMPONENTS, JOINED_NORM
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.probes import CHOICES_OF_C, FOLDS
from lit_lul.report.entry import PROTOCOLS, Entry, Methods, column
from lit_lul.report.page import Block, Page, Picture, Table, difference
from lit_lul.report.plots import bars
from lit_lul.report.rows import Row
from lit_lul.report.study import (
    MACHINE,
    DataCache,
    Machine,
    Study,
    choose,
    initial_name,
    load_rules,
    page_path,
    parse,
    read_values,
    spell,
)

Half = Literal["development", "report"]
KEYS = {*MACHINE, "page", "shared", *get_args(Half)}
MORE = "_more"
"""End of the names of entries whose unlabelled rows are of more classes than in their pair."""
NAMES = (
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
RESAMPLES = 10_000
COVERAGE = 0.95


@dataclass(frozen=True)
class Suite:
    """One half of the suite, a section of its page.

    Attributes:
        entries: parts of every entry by name; the accuracy of an entry is over all its parts.
        machine: precision, compilation and folder of datasets.
        half: which half.
        config: its configuration.
        pages: configurations that are on one page, this one among them.
    """

    entries: Mapping[str, Sequence[HeldOut]]
    machine: Machine
    half: Half
    config: Path
    pages: Sequence[Path] = field(default_factory=list)

    @property
    def section(self) -> str:
        """End of the name of its folder."""
        first, *_ = (page.stem for page in self.pages)
        return self.config.stem.removeprefix(first) + "_report" * (self.half == "report")

    @property
    def title(self) -> str:
        """What the section is called."""
        part = next(iter(self.entries.values()))[0]
        return f"{self.half.capitalize()} half, {part.inner_steps:,} inner steps"


def load_suite(config: Path, half: Half, quick: bool = False) -> Suite:
    """Read one half of the suite from a configuration file.

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
    pages = pages_of(config, values)
    return Suite(entries, Machine.read(config, values), half, config, pages)


def pages_of(config: Path, values: Mapping[str, Any]) -> list[Path]:
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
    suites = [
        other
        for other in every
        if other.entries
        and (other.section == measured.section or out.with_name(out.stem + other.section).is_dir())
    ]
    methods = Methods(some_baselines(NAMES), load_rules(rules, NAMES, measured.machine.compile))
    cache = DataCache(measured.machine.data_root)
    sections = [Section(s, _entries(s, methods, cache)) for s in suites]
    command = "\n".join(
        spell("suite", rules=rules, half=s.half, config=s.config, out=out, quick=quick)
        for s in suites
    )
    mine = [e for s in sections if s.suite.section == measured.section for e in s.entries]
    chosen = [entry.name for entry in choose(mine, only)]
    page = partial(suite_page, command, sections, methods, out)
    Study("suite", [e for s in sections for e in s.entries], page).run(out, chosen)


def _entries(suite: Suite, methods: Methods, cache: DataCache) -> list[Entry]:
    return [
        Entry(name, parts, methods, suite.machine, cache, suite.section)
        for name, parts in suite.entries.items()
    ]


class Section(NamedTuple):
    """One half on the page."""

    suite: Suite
    entries: Sequence[Entry]


Measured = Mapping[str, Mapping[str, Row]]
"""Rows by entry and method."""


def suite_page(
    command: str, sections: Sequence[Section], methods: Methods, out: Path, rows: Measured
) -> Page:
    """The page: for each half tables by probe and protocol, and what meta-training gains."""
    shown: dict[str, Sequence[Block]] = {}
    for section in sections:
        measured = {entry.label: rows.get(entry.name, {}) for entry in section.entries}
        present = {n: r for n, r in measured.items() if r}
        if present:
            shown[section.suite.title] = section_blocks(section, present, methods)
    first = sections[0]
    measured = {entry.label: rows.get(entry.name, {}) for entry in first.entries}
    sources = {entry.label: entry.source for entry in first.entries}
    return Page(
        "The suite: rules beside baselines",
        finding({name: r for name, r in measured.items() if r}, methods, first.suite.title),
        command,
        rank_picture(measured, sources),
        shown,
        _method(first.suite, methods, out),
    )


def finding(measured: Measured, methods: Methods, where: str) -> str:
    """One sentence: the best trained rule with its initial θ, and the best baseline."""
    means = mean_accuracies(measured, column("ridge", "inductive"))
    trained = [n for n in means if n in methods.rules and initial_name(n) in means]
    baselines = [n for n in means if n in methods.baselines]
    if not trained or not baselines:
        return "Not enough is measured to tell rules from baselines."
    rule, baseline = (max(names, key=lambda n: means[n]) for names in (trained, baselines))
    return (
        f"{where}, ridge, inductive, mean over {len(measured)} datasets: the best trained rule, "
        f"`{rule}`, has {means[rule]:.1%}, with its initial θ {means[initial_name(rule)]:.1%}, "
        f"and the best baseline, {baseline}, {means[baseline]:.1%}."
    )


def mean_accuracies(measured: Measured, key: str) -> dict[str, float]:
    """Mean accuracy over entries, of the methods that are measured on all of them."""
    names = dict.fromkeys(name for rows in measured.values() for name in rows)
    return {
        name: float(np.mean([rows[name].curve(key).mean[-1] for rows in measured.values()]))
        for name in names
        if all(name in rows and key in rows[name].accuracy for rows in measured.values())
    }


def section_blocks(section: Section, measured: Measured, methods: Methods) -> list[Block]:
    """The tables of one half."""
    probes = section.entries[0].parts[0].probes
    keys = {
        title(probe, protocol): column(probe, protocol)
        for probe in probes
        for protocol in PROTOCOLS
    }
    groups = {"baselines": [*methods.baselines], "rules": [*methods.rules]}
    blocks: list[Block] = []
    for heading, key in keys.items():
        blocks += [f"### {heading.capitalize()}", accuracy_table(measured, groups, key)]
    gains = {
        name: {heading: gain(measured, name, key) for heading, key in keys.items()}
        for name in methods.rules
        if initial_name(name) in methods.rules
    }
    gains = {name: found for name, found in gains.items() if any(found.values())}
    if gains:
        cells = {name: [*found.values()] for name, found in gains.items()}
        table = Table([*keys], {"": cells}, best="", mean=False)
        blocks += ["### Trained minus initial θ", GAINS, table]
    pairs = [name for name in measured if name + MORE in measured]
    if pairs:
        blocks += ["### Unlabelled rows of more classes", MORE_CLASSES]
        blocks.append(more_classes_table(measured, pairs, groups, probes))
    return blocks


def accuracy_table(measured: Measured, groups: Mapping[str, Sequence[str]], key: str) -> Table:
    """Mean accuracy of methods by entry, without methods that are measured nowhere."""
    present = {name for rows in measured.values() for name in rows}
    names = {name for group in groups.values() for name in group}
    present -= {initial_name(name) for name in names - present}
    cells = {
        group: {
            name: [r[name].curve(key).mean[-1] if name in r else None for r in measured.values()]
            for name in names
            if name in present
        }
        for group, names in groups.items()
    }
    return Table([short(name) for name in measured], cells)


def more_classes_table(
    measured: Measured,
    pairs: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    probes: Sequence[str],
) -> Table:
    """Points that methods gain by unlabelled rows of more classes, inductive, on the same draws."""
    columns = [(pair, probe) for pair in pairs for probe in probes]
    cells: dict[str, dict[str, list[float | None]]] = {}
    for group, names in groups.items():
        for name in names:
            found: list[float | None] = []
            for pair, probe in columns:
                same, more = (measured[n].get(name) for n in (pair, pair + MORE))
                key = column(probe, "inductive")
                found.append(difference(more, same, key).mean if same and more else None)
            if any(cell is not None for cell in found):
                cells.setdefault(group, {})[name] = found
    headings = [f"{short(pair)}, {probe.removesuffix('_cv')}" for pair, probe in columns]
    return Table(headings, cells, form="+.1f", best="", mean=False)


def gain(measured: Measured, name: str, key: str) -> str | None:
    """Points that a rule gains over its initial θ, mean over entries, with a 95% interval.

    Differences are on the same draws; the interval is Student's, with Welch's degrees of freedom.
    """
    both = [(r[name], r[initial_name(name)]) for r in measured.values() if name in r]
    if not both:
        return None
    pairs = [100 * (one.draws(key)[-1] - other.draws(key)[-1]) for one, other in both]
    mean = np.mean([float(p.mean()) for p in pairs])
    variances = np.array([float(p.var()) / len(p) for p in pairs])
    total, freedom = (
        variances.sum(),
        sum(v**2 / (len(p) - 1) for v, p in zip(variances, pairs, strict=True)),
    )
    half = t.ppf((1 + COVERAGE) / 2, total**2 / freedom) * total**0.5 / len(pairs) if total else 0
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def rank_picture(measured: Measured, sources: Mapping[str, str]) -> list[Block]:
    """Mean ranks by probe and protocol, of methods and entries that are complete."""
    present = {name: rows for name, rows in measured.items() if rows}
    if not present:
        return []
    rows = next(iter(present.values()))
    names = [n for n in rows if all(n in others for others in present.values())]
    keys = [*rows[names[0]].accuracy] if names else []
    panels = {}
    for key in keys:
        accuracy = np.array([[r[n].curve(key).mean[-1] for n in names] for r in present.values()])
        found = mean_ranks(accuracy, [sources[name] for name in present])
        panels[key.replace("_cv", "")] = dict(zip(names, found, strict=True))
    caption = "Mean rank of each method over the datasets, 1 for the best, with 95% intervals"
    return [Picture("ranks", bars(panels, "mean rank"), caption)] if panels else []


def mean_ranks(
    accuracy: np.ndarray[Any, Any], sources: Sequence[str]
) -> list[tuple[float, float, float]]:
    """Mean ranks of columns over rows, with 95% intervals of a bootstrap over sources.

    Args:
        accuracy: (rows, columns); the highest has rank 1, and equal ones share their mean rank.
        sources: of every row; rows of one source are drawn together.
    """
    ranks = rankdata(-accuracy, axis=1)
    names, index = np.unique(sources, return_inverse=True)
    drawn = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), RESAMPLES
    )
    weights = drawn[:, index]  # how often every row is drawn
    means = weights @ ranks / weights.sum(1, keepdims=True)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0)
    return list(zip(ranks.mean(0).tolist(), low.tolist(), high.tolist(), strict=True))


def title(probe: str, protocol: str) -> str:
    """What a table is called; the suite has one logistic regression, the cross-validated one."""
    return column(probe.removesuffix("_cv"), protocol)


def short(name: str) -> str:
    """The name of an entry as that of a column."""
    return name.replace(MORE, "+").replace("_", " ")


GAINS = """Percentage points that meta-training adds to initial θ, mean over the datasets, with a
95% interval; differences are on the same draws."""
MORE_CLASSES = """Entries named `…+` have the labels and test examples of their pair, but unlabelled
rows of more classes. Percentage points gained by that, inductive; raw inputs do not use unlabelled
rows, random networks only for their statistics."""


def _method(suite: Suite, methods: Methods, out: Path) -> str:
    part = next(iter(suite.entries.values()))[0]
    penalties = ", ".join(f"{c:g}" for c in CHOICES_OF_C)
    return f"""Few-shot accuracy in percent, mean over the draws; the best of each column is bold.
Every draw has its own network, permutation of the inputs, labels and test examples, the same for
all methods. Rules train networks (`{part.networks}`, or networks of the rule's own class of the
same size) on minibatches of {part.batch_size} unlabelled rows, with hidden states in
{suite.machine.precision}. The datasets, labels and draws are in the configuration. Choices are made
on the development half alone.

- *Ridge* is the meta-objective's regression (λ = {methods.ridge.ridge:g}) on features as they are:
  a small scale means a large penalty, which helps many features and hurts few. *Logistic* is a
  logistic regression: features are centred and scaled by one number, and C is chosen from
  {penalties} by {FOLDS}-fold cross-validation on the labels of every draw.
- *Inductive* embeds every labelled row alone, with batch statistics of unlabelled rows;
  *transductive* has the labelled rows of a draw share their own statistics. Baselines are the same
  in both.
- *PCA* has {COMPONENTS} components, *k-means* {CENTROIDS} centroids with triangle activation
  (Coates & Ng 2012), *whitened k-means* the same after ZCA whitening, all fitted to the unlabelled
  rows; *PCA and k-means* joins both, each of root mean square norm {JOINED_NORM:g}. A *random
  network* is what rules start from: its top layer of {methods.embedding_units} units, or all of its
  layers. *Initial θ* is a rule's θ before meta-training.
- Ranks are among all methods, 1 for the best, with 95% intervals of a bootstrap over datasets;
  entries of one dataset are drawn together.

The accuracy of every draw, for standard errors, is in the folders `{out.stem}*/`."""
