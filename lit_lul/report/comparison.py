"""Rules beside baselines on held-out data: what is measured, and a page with what it tells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from scipy.stats import rankdata, t
from torch import Tensor

from lit_lul.evaluation.baselines import Baseline, Case
from lit_lul.evaluation.curve import embed_labelled
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.features import CENTROIDS, COMPONENTS, JOINED_NORM
from lit_lul.evaluation.held_out import HeldOut, Protocol, describe
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.probes import CHOICES_OF_C, FOLDS, probe
from lit_lul.learners.learner import Learner
from lit_lul.learners.rollout import rollout
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.page import Block, Page, Picture, Table
from lit_lul.report.plots import bars, lines
from lit_lul.report.rows import Precision, Row, RowFile, autocast, digest, rule_key
from lit_lul.report.study import DataCache, Measurement, Part, initial_name

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
SECONDS = 2e-4
"""About how long a rule takes for an inner step of a draw, per row of a minibatch."""


MORE = "_more"
"""End of the names of entries whose unlabelled rows are of more classes than in their pair."""
BEFORE = "before the inner loop"
"""The method of a curve's start: the embedding of a random network."""
RESAMPLES = 10_000
COVERAGE = 0.95
GAINS = """Percentage points that meta-training adds to initial θ, mean over the datasets, with a
95% interval; differences are on the same draws."""


@dataclass(frozen=True)
class Methods:
    """What is compared.

    Attributes:
        groups: baselines by name, by the name of their group.
        rules: rules by name, each with initial θ before it, from `load_rules`.
        ridge: the ridge probe.
    """

    groups: Mapping[str, Mapping[str, Baseline]]
    rules: Mapping[str, Learner]
    ridge: FewShotRidge

    @property
    def baselines(self) -> dict[str, Baseline]:
        """All baselines by name."""
        return {name: one for group in self.groups.values() for name, one in group.items()}

    @property
    def embedding_units(self) -> int:
        """E of all rules."""
        return next(iter(self.rules.values())).embedding_units


@dataclass
class Entry(Part[Row]):
    """An entry of a configuration: one dataset, or several whose draws count together.

    Without a curve, rules are probed after the last inner step by both protocols, and accuracies
    are named by probe and protocol; those of a baseline are the same for both. With a curve, rules
    are probed along it by the entry's protocol alone, and accuracies are named by probe.

    Args:
        label: name of the entry, unique in its section.
        parts: its datasets.
        methods: what is measured.
        precision: precision of the hidden states of rules.
        cache: loads the data.
        section: end of the name of the folder of its file, "" for that of the page.
        curve: whether there is a curve.
    """

    label: str
    parts: Sequence[HeldOut]
    methods: Methods
    precision: Precision
    cache: DataCache
    section: str = ""
    curve: bool = False
    kind = Row

    def __post_init__(self) -> None:
        self.name = self.label + self.section.replace("_", " ")
        self.groups = (self.label,)

    @property
    def source(self) -> str:
        """Where the data are from; the same for entries with other classes of one dataset."""
        part = self.parts[0]
        named = part.images or part.text
        return named.dataset if named else part.dataset

    def file(self, out: Path) -> RowFile[Row]:
        """The stored rows, in the folder of the page's name and the section."""
        folder = out.with_name(out.stem + self.section)
        return RowFile(self.label, folder / f"{self.label}.json", Row)

    def protocol(self) -> dict[str, Any]:
        """Everything that numbers depend on, except θ."""
        parts = [part.describe() for part in self.parts]
        ridge = {"ridge": describe(self.methods.ridge)}
        return ({"held_out": parts[0]} if self.curve else {"parts": parts}) | ridge

    def measurements(self) -> list[Measurement[Row]]:
        """Baselines, then rules."""
        protocol, units = self.protocol(), self.methods.embedding_units
        steps = self.parts[0].probe_steps if self.curve else (self.parts[0].inner_steps,)
        work = sum(part.draws * part.inner_steps * part.batch_size for part in self.parts)
        made = []
        for name, baseline in self.methods.baselines.items():
            key = digest([protocol, name, baseline.size_for(units)])
            measure = partial(self._measure, key, (0,), partial(self._baseline, baseline))
            made.append(Measurement(name, key, 1.0, measure))
        for name, rule in self.methods.rules.items():
            key = rule_key(protocol, self.precision, rule)
            measure = partial(self._measure, key, steps, partial(self._roll_out, rule, steps))
            made.append(Measurement(name, key, SECONDS * work, measure))
        return made

    def _measure(
        self,
        key: str,
        steps: Sequence[int],
        accuracy: Callable[[HeldOut, HeldOutData], dict[Protocol, Tensor]],
    ) -> Row:
        """The row of accuracies (probes, steps, draws) by protocol, the draws of all parts."""
        by_part = [accuracy(part, self.cache.load(part)) for part in self.parts]
        named = {}
        for protocol in by_part[0]:
            joined = torch.cat([part[protocol] for part in by_part], -1)
            for name, values in zip(self.parts[0].probes, joined.tolist(), strict=True):
                named[name if self.curve else f"{name}, {protocol}"] = values
        return Row(key, list(steps), named)

    def _baseline(
        self, baseline: Baseline, part: HeldOut, data: HeldOutData
    ) -> dict[Protocol, Tensor]:
        case = Case(data, part, self.methods.ridge, self.methods.embedding_units)
        protocols = [part.protocol] if self.curve else PROTOCOLS
        return dict.fromkeys(protocols, baseline.accuracy(case).unsqueeze(1))

    def _roll_out(
        self, rule: Learner, steps: Sequence[int], part: HeldOut, data: HeldOutData
    ) -> dict[Protocol, Tensor]:
        """Train networks with a rule on all draws, and probe them."""
        draws = Draws(data, part, range(part.draws), next(rule.parameters()))
        network = part.network_of(rule, data.x.shape[1])
        protocols = [part.protocol] if self.curve else PROTOCOLS
        accuracy: dict[Protocol, list[Tensor]] = {protocol: [] for protocol in protocols}
        with torch.no_grad(), autocast(self.precision):
            start = draws.start(rule, network)
            for _, state in rollout(rule, network, start, draws.minibatch, steps):
                params = rule.parameters_of(state)
                for protocol, probed in accuracy.items():
                    features = embed_labelled(protocol, self.methods.ridge, network, params, draws)
                    probed.append(probe(part.probes, self.methods.ridge, draws, *features))
        return {protocol: torch.stack(probed, 1) for protocol, probed in accuracy.items()}


Measured = Mapping[str, Mapping[str, Row]]
"""Rows by entry and method."""


class Section(NamedTuple):
    """A section of the page.

    Attributes:
        title: heading.
        entries: entries of one configuration.
        protocols: protocols that it shows, of entries without a curve.
    """

    title: str
    entries: Sequence[Entry]
    protocols: Sequence[Protocol] = PROTOCOLS

    @property
    def groups(self) -> dict[str, list[str]]:
        """Names of the methods by group; the start of a curve is one of the baselines."""
        some = self.entries[0]
        groups = {group: [*named] for group, named in some.methods.groups.items()}
        groups[next(iter(groups))] += [BEFORE] * some.curve
        return groups | {"rules": [*some.methods.rules]}

    @property
    def headings(self) -> dict[str, str]:
        """Names of accuracies by the heading of their table."""
        probes = self.entries[0].parts[0].probes
        if self.entries[0].curve:
            return {name.capitalize(): name for name in probes}
        return {
            f"{name.removesuffix('_cv')}, {protocol}".capitalize(): f"{name}, {protocol}"
            for name in probes
            for protocol in self.protocols
        }

    def measured(self, rows: Measured) -> Measured:
        """Rows by label, of the entries that have some; curves have their start as a method."""
        found = {}
        for entry in self.entries:
            own = dict(rows.get(entry.name, {}))
            starts = [row.at_start() for row in own.values() if len(row.steps) > 1]
            if own:
                found[entry.label] = own | ({BEFORE: starts[0]} if starts else {})
        return found


def comparison_page(
    title: str, command: str, sections: Sequence[Section], about: str, rows: Measured
) -> Page:
    """The page: for each section a table per kind of accuracy, and what meta-training gains.

    The finding and the picture are of the first section; `about` follows how all are measured.
    """
    shown: dict[str, list[Block]] = {}
    for section in sections:
        if measured := section.measured(rows):
            shown[section.title] = _blocks(section, measured)
    first = sections[0]
    measured = first.measured(rows)
    sources = {entry.label: entry.source for entry in first.entries}
    method = f"{_method(first.entries[0])}\n\n{about}"
    picture = rank_picture(measured, first.headings, sources)
    return Page(title, finding(first, measured), command, picture, shown, method)


def finding(section: Section, measured: Measured) -> str:
    """One sentence: the best trained rule with its initial θ, and the best baseline."""
    heading, key = next(iter(section.headings.items()))
    methods, means = section.entries[0].methods, mean_accuracies(measured, key)
    trained = [n for n in methods.rules if n in means and initial_name(n) in means]
    baselines = [n for n in methods.baselines if n in means]
    if not trained or not baselines:
        return "Not enough is measured to tell rules from baselines."
    rule, baseline = (max(names, key=lambda n: means[n]) for names in (trained, baselines))
    return (
        f"{section.title}, {heading.lower()}, mean over {len(_probed(measured, key))} datasets: "
        f"the best trained rule, `{rule}`, has {means[rule]:.1%}, with its initial θ "
        f"{means[initial_name(rule)]:.1%}, and the best baseline, {baseline}, "
        f"{means[baseline]:.1%}."
    )


def mean_accuracies(measured: Measured, key: str) -> dict[str, float]:
    """Mean accuracy over entries with the key, of the methods that are measured on all of them."""
    measured = _probed(measured, key)
    names = dict.fromkeys(name for rows in measured.values() for name in rows)
    return {
        name: float(np.mean([_accuracy(rows, name, key) for rows in measured.values()]))
        for name in names
        if all(_accuracy(rows, name, key) is not None for rows in measured.values())
    }


def _probed(measured: Measured, key: str) -> Measured:
    """The entries that have a kind of accuracy."""
    return {n: r for n, r in measured.items() if any(key in row.accuracy for row in r.values())}


def _accuracy(rows: Mapping[str, Row], name: str, key: str) -> float | None:
    """Mean accuracy at the last step; None if it is not measured."""
    row = rows.get(name)
    return row.curve(key).mean[-1] if row is not None and key in row.accuracy else None


def _blocks(section: Section, measured: Measured) -> list[Block]:
    """The tables of a section, with pictures of curves."""
    blocks: list[Block] = []
    for heading, key in section.headings.items():
        if not (probed := _probed(measured, key)):
            continue
        blocks += [f"### {heading}", accuracy_table(probed, section.groups, key)]
        if section.entries[0].curve:
            curves = {
                label: {name: row.curve(key) for name, row in rows.items() if name != BEFORE}
                for label, rows in probed.items()
            }
            figure = lines(curves, "inner steps", "few-shot accuracy")
            blocks.append(Picture(f"{key}{section.entries[0].section}", figure))
    cells = {
        name: [gain(measured, name, key) for key in section.headings.values()]
        for name in section.entries[0].methods.rules
    }
    cells = {name: found for name, found in cells.items() if any(found)}
    if cells:
        table = Table([*section.headings], {"": cells}, best="", mean=False)
        blocks += ["### Trained minus initial θ", GAINS, table]
    return blocks


def accuracy_table(measured: Measured, groups: Mapping[str, Sequence[str]], key: str) -> Table:
    """Mean accuracy of methods by entry, without methods that are measured nowhere."""
    present = {name for rows in measured.values() for name in rows}
    names = {name for group in groups.values() for name in group}
    present -= {initial_name(name) for name in names - present}
    cells = {
        group: {
            name: [_accuracy(rows, name, key) for rows in measured.values()]
            for name in names
            if name in present
        }
        for group, names in groups.items()
    }
    return Table([label.replace(MORE, "+").replace("_", " ") for label in measured], cells)


def gain(measured: Measured, name: str, key: str) -> str | None:
    """Points that a rule gains over its initial θ, mean over entries, with a 95% interval.

    Differences are on the same draws; the interval is Student's, with Welch's degrees of freedom.
    """
    pairs = [
        100 * (rows[name].draws(key)[-1] - rows[initial_name(name)].draws(key)[-1])
        for rows in measured.values()
        if name in rows and initial_name(name) in rows and key in rows[name].accuracy
    ]
    if not pairs:
        return None
    mean = np.mean([float(p.mean()) for p in pairs])
    variances = np.array([float(p.var()) / len(p) for p in pairs])
    half = 0.0
    if total := variances.sum():
        of_each = [v**2 / (len(p) - 1) for v, p in zip(variances, pairs, strict=True)]
        quantile = t.ppf((1 + COVERAGE) / 2, total**2 / sum(of_each))
        half = quantile * total**0.5 / len(pairs)
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def rank_picture(
    measured: Measured, headings: Mapping[str, str], sources: Mapping[str, str]
) -> list[Block]:
    """Mean ranks of the methods that are measured everywhere, a panel for each kind of accuracy."""
    panels = {}
    for heading, key in headings.items():
        if names := [*mean_accuracies(measured, key)]:
            probed = _probed(measured, key)
            of_entries = [[_accuracy(rows, n, key) for n in names] for rows in probed.values()]
            found = mean_ranks(np.array(of_entries), [sources[label] for label in probed])
            panels[heading] = dict(zip(names, found, strict=True))
    caption = "Mean rank of each method over the datasets, 1 for the best, with 95% intervals"
    return [Picture("ranks", bars(panels, "mean rank"), caption)] if panels else []


def mean_ranks(
    accuracy: np.ndarray[Any, Any], sources: Sequence[str]
) -> list[tuple[float, float, float]]:
    """Mean ranks of columns over rows, with 95% intervals of a bootstrap over sources.

    Args:
        accuracy: (rows, columns); the highest has rank 1, and equal columns share their mean rank.
        sources: the source of every row; rows of one source are drawn together.
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


def _method(entry: Entry) -> str:
    part = entry.parts[0]
    penalties = ", ".join(f"{c:g}" for c in CHOICES_OF_C)
    chosen = (
        f", whose features are centred and scaled by one number, and whose C is chosen from\n"
        f"  {penalties} by {FOLDS}-fold cross-validation on the labels of every draw"
    )
    return f"""Few-shot accuracy in percent, mean over the draws; the best of each column is bold.
Every draw has its own network, permutation of the inputs, labels and test examples, the same for
all methods. Rules train networks (`{part.networks}`,
or networks of the rule's own class of the same size) on minibatches of {part.batch_size} unlabelled
rows. The datasets, labels and draws are in the configuration, and the accuracy of every draw, for
standard errors, in JSON files beside this page.

- *Ridge* is a regression (λ = {entry.methods.ridge.ridge:g}) on features as they are: a small scale
  means a large penalty, which helps many features and hurts few. *Logistic* is a logistic
  regression{chosen if "logistic_cv" in part.probes else ""}.
- *Inductive* embeds every labelled row alone, with batch statistics of unlabelled rows;
  *transductive* has the labelled rows of a draw share their own statistics. Baselines are the same
  in both.
- *PCA* has {COMPONENTS} components, *k-means* {CENTROIDS} centroids with triangle activation
  (Coates & Ng 2012), *whitened k-means* the same after ZCA whitening, all fitted to the unlabelled
  rows; *PCA and k-means* joins both, each of root mean square norm {JOINED_NORM:g}. A *random
  network* is what rules start from: its embedding of {entry.methods.embedding_units} units, or all
  of its layers. *Initial θ* is a rule's θ before meta-training.
- Ranks are among all methods, with 95% intervals of a bootstrap over datasets; entries of one
  dataset are drawn together."""
