"""Pages that compare rules with baselines: accuracy, mean ranks, and what meta-training gains."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata, t

from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.features import CENTROIDS, COMPONENTS, JOINED_NORM
from lit_lul.evaluation.probes import CHOICES_OF_C, FOLDS
from lit_lul.report.entry import Entry
from lit_lul.report.page import Block, Page, Picture, Table
from lit_lul.report.plots import bars, lines
from lit_lul.report.rows import Row
from lit_lul.report.study import initial_name

MORE = "_more"
"""End of the names of entries whose unlabelled rows are of more classes than in their pair."""
BEFORE = "before the inner loop"
"""The method of a curve's start: the embedding of a random network."""
RESAMPLES = 10_000
COVERAGE = 0.95
GAINS = """Percentage points that meta-training adds to initial θ, mean over the datasets, with a
95% interval; differences are on the same draws."""

Measured = Mapping[str, Mapping[str, Row]]
"""Rows by entry and method."""


class Section(NamedTuple):
    """A section of the page.

    Attributes:
        title: heading.
        entries: entries of one configuration.
        groups: names of the methods, by group.
        headings: names of accuracies, by the heading of their table.
    """

    title: str
    entries: Sequence[Entry]
    groups: Mapping[str, Sequence[str]]
    headings: Mapping[str, str]

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

    Args:
        title: heading.
        command: the commands that measure it.
        sections: its sections; the finding and the picture are of the first.
        about: how it is measured, what is special of this study.
        rows: stored rows, by entry and method.
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
            curves = {n: _curves(rows, key) for n, rows in probed.items()}
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


def _curves(rows: Mapping[str, Row], key: str) -> dict[str, Curve]:
    return {name: row.curve(key) for name, row in rows.items() if name != BEFORE}


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
