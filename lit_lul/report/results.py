"""The command `report results`: curves of rules on the held-out data of a configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import RANDOM_NETWORK, some_baselines
from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.features import CENTROIDS, COMPONENTS
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.probes import ridge_of
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective
from lit_lul.report.entry import Entry, Methods
from lit_lul.report.page import Block, Page, Picture
from lit_lul.report.plots import lines
from lit_lul.report.rows import Precision, Row
from lit_lul.report.study import (
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
from lit_lul.report.suite import Measured, accuracy_table, mean_accuracies, pages_of

NAMES = ("raw inputs", "PCA", "k-means", RANDOM_NETWORK)
"""Baselines of the results; nothing is whitened."""
BEFORE = "random network (embedding)"
"""The network that rules train, before the inner loop."""


@dataclass(frozen=True)
class Results:
    """What a configuration says.

    Attributes:
        entries: held-out datasets by name.
        ridge: the ridge probe: the objective if it is one, else with default settings.
        machine: precision, compilation and folder of datasets.
        config: the configuration.
        pages: configurations that are on one page, this one among them.
    """

    entries: Mapping[str, HeldOut]
    ridge: FewShotRidge
    machine: Machine
    config: Path
    pages: Sequence[Path]

    @property
    def section(self) -> str:
        """End of the name of its folder."""
        return self.config.stem.removeprefix(self.pages[0].stem)

    @property
    def title(self) -> str:
        """What its section is called."""
        entry = next(iter(self.entries.values()))
        return f"{entry.protocol.capitalize()}, {entry.inner_steps:,} inner steps"


def load_results(config: Path) -> Results:
    """Read a configuration, which may be that of a meta-training.

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
    pages = pages_of(config, values)
    return Results(entries, ridge_of(objective), Machine.read(config, machine), config, pages)


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
    mine = load_results(config)
    if unknown := [name for name in datasets or [] if name not in mine.entries]:
        expected = ", ".join(mine.entries)
        raise InvalidInput(f"--datasets {unknown[0]}: expected some of {expected}")
    learners = load_rules(rules, {*NAMES, BEFORE}, mine.machine.compile)
    sections = []
    for page in mine.pages:
        other = load_results(page)
        if precision is not None and page.stem == config.stem:
            other = replace(other, machine=other.machine._replace(precision=precision))
        methods = Methods(some_baselines(NAMES), learners, other.ridge)
        cache = DataCache(other.machine.data_root)
        entries = [
            Entry(name, [held_out], methods, other.machine, cache, other.section, curve=True)
            for name, held_out in other.entries.items()
        ]
        sections.append((other, entries))
    command = "\n".join(
        spell("results", rules=rules, config=r.config, out=out, precision=r.machine.precision)
        for r, _ in sections
    )
    every = [entry for _, entries in sections for entry in entries]
    chosen = [e for e in every if e.section == mine.section and e.label in (datasets or [e.label])]
    page_of = partial(results_page, command, sections, out)
    Study("results", every, page_of).run(out, [entry.name for entry in chosen])


def results_page(
    command: str,
    sections: Sequence[tuple[Results, Sequence[Entry]]],
    out: Path,
    rows: Measured,
) -> Page:
    """The page: for each configuration a table and a figure of curves per probe."""
    shown: dict[str, list[Block]] = {}
    summary: list[Block] = []
    found = "Not enough is measured to tell rules from baselines."
    for settings, entries in sections:
        methods = entries[0].methods
        measured = {e.label: with_start(rows[e.name], methods) for e in entries if rows[e.name]}
        if not measured:
            continue
        shown[settings.title] = blocks = []
        first = next(iter(settings.entries.values())).probes
        for probe in first:
            of_probe = {n: r for n, r in measured.items() if probe in settings.entries[n].probes}
            groups = {"baselines": [*NAMES, BEFORE], "rules": [*methods.rules]}
            curves = {n: _curves(rows, probe) for n, rows in of_probe.items()}
            figure = lines(curves, "inner steps", f"few-shot accuracy, {probe}")
            table = accuracy_table(of_probe, groups, probe)
            picture = Picture(f"{probe}{settings.section}", figure)
            blocks += [f"### {probe.capitalize()}", table, picture]
            summary = summary or [picture]
        if len(shown) == 1:
            found = _finding(measured, methods, first[0], settings)
    return Page(
        "Results on held-out data",
        found,
        command,
        summary,
        {title: [b for b in blocks if b not in summary] for title, blocks in shown.items()},
        _method(sections, out),
    )


def with_start(rows: Mapping[str, Row], methods: Methods) -> dict[str, Row]:
    """Rows with the network before the inner loop, which is where curves of rules start."""
    starts = [row.at_start() for name, row in rows.items() if name in methods.rules]
    return {**rows, BEFORE: starts[0]} if starts else dict(rows)


def _curves(rows: Mapping[str, Row], probe: str) -> dict[str, Curve]:
    return {name: row.curve(probe) for name, row in rows.items() if name != BEFORE}


def _finding(measured: Measured, methods: Methods, probe: str, settings: Results) -> str:
    means = mean_accuracies(measured, probe)
    baselines = {name: means[name] for name in NAMES if name in means}
    said = [
        f"`{name}` has {mean:.1%} (initial θ {means[initial_name(name)]:.1%})"
        for name, mean in means.items()
        if name in methods.rules and initial_name(name) in means
    ]
    if not said or not baselines:
        return "Not enough is measured to tell rules from baselines."
    best = max(baselines, key=lambda name: baselines[name])
    return (
        f"{settings.title}, {probe}, mean over {len(measured)} datasets: {', '.join(said)}; "
        f"the best baseline, {best}, {baselines[best]:.1%}."
    )


def _method(sections: Sequence[tuple[Results, Sequence[Entry]]], out: Path) -> str:
    settings = sections[0][0]
    entry = next(iter(settings.entries.values()))
    units = sections[0][1][0].methods.embedding_units
    precisions = ", ".join(f"{r.machine.precision} ({r.title.lower()})" for r, _ in sections)
    return f"""Few-shot accuracy in percent on data that meta-training never sees, mean over the
draws; the best of each column is bold. Every draw has its own network, permutation of the inputs,
labels and test examples, the same for all methods; rules learn from the training split without
labels, and all features are probed on the test split, after the last inner step. There are
{entry.labels_per_class} labels and up to {entry.tests_per_class} test examples per class,
{entry.draws} draws, networks `{entry.networks}` with an embedding of {units} units, and minibatches
of {entry.batch_size}. Hidden states are in {precisions}.

- *Inductive* embeds every labelled row alone, with batch statistics of up to
  {entry.statistics_rows:,} unlabelled rows; *transductive* has the labelled rows of a draw share
  their own statistics, balanced by class as they are.
- *Ridge* is the objective's regression (λ = {settings.ridge.ridge:g}), *logistic* scikit-learn's
  logistic regression.
- *PCA* has {COMPONENTS} components, *k-means* {CENTROIDS} centroids with triangle activation
  (Coates & Ng 2012), both fitted to the training split; the *random network* is what rules start
  from, all of its layers or its embedding alone. Nothing is whitened or standardised. *Initial θ*
  is a rule's θ before meta-training.

The accuracy of every draw at every probed step is in the folders `{out.stem}*/`."""
