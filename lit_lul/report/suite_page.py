"""The page of the suite: mean ranks, tables of accuracy, and what unlabelled classes change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.features import CENTROIDS, COMPONENTS, JOINED_NORM
from lit_lul.evaluation.probes import CHOICES_OF_C, FOLDS
from lit_lul.files.atomic import replace_file
from lit_lul.report.ranks import MeanRanks, mean_ranks
from lit_lul.report.stored_rows import Row
from lit_lul.report.suite_config import Suite
from lit_lul.report.suite_figure import draw_ranks
from lit_lul.report.suite_rows import PROTOCOLS, column

MORE = "_more"
"""End of the names of entries whose unlabelled rows are of more classes than in their pair."""


@dataclass(frozen=True)
class SuitePage:
    """The content of the page.

    Attributes:
        command: the command that measures everything in it.
        half: the half of the suite.
        suite: its settings.
        embedding_units: E of all rules.
        sources: where the data of an entry are from.
        rows: rows by entry, baselines first and rules last; None if not all are measured.
        missing: why an entry could not be loaded.
    """

    command: str
    half: str
    suite: Suite
    embedding_units: int
    sources: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Row] | None]
    missing: Mapping[str, str]

    def measured(self, probe: str) -> dict[str, Mapping[str, Row]]:
        """Rows by entry, of the complete entries that have a probe."""
        return {
            name: rows
            for name, rows in self.rows.items()
            if rows is not None and probe in self.suite.entries[name][0].probes
        }

    def columns(self) -> list[tuple[str, str]]:
        """Probes and protocols with which something is measured."""
        probes = dict.fromkeys(p for parts in self.suite.entries.values() for p in parts[0].probes)
        return [(p, protocol) for p in probes if self.measured(p) for protocol in PROTOCOLS]

    def ranks(self, probe: str, protocol: str) -> dict[str, tuple[float, float, float]]:
        """Mean rank of every column, and the bounds of its interval."""
        measured = self.measured(probe)
        names = list(next(iter(measured.values())))
        accuracy = [[_mean(rows[n], probe, protocol) for n in names] for rows in measured.values()]
        found: MeanRanks = mean_ranks(
            np.array(accuracy), [self.sources[entry] for entry in measured]
        )
        bounds = zip(*(values.tolist() for values in found), strict=True)
        return dict(zip(names, bounds, strict=True))


def write_suite(page: SuitePage, out: Path) -> None:
    """Write the markdown, and the picture of ranks into the folder of the same name.

    Raises:
        InvalidInput: when a file cannot be written.
    """
    columns = page.columns()
    parts = [_introduction(page, out)]
    if columns:
        ranks = {title(*c): page.ranks(*c) for c in columns}
        picture = out.with_suffix("") / "ranks.png"
        with replace_file(picture) as temporary:
            draw_ranks(ranks).savefig(temporary, format="png", dpi=110)
        parts += [
            "## Mean ranks",
            rank_table(ranks),
            f"![Mean ranks with intervals]({picture.relative_to(out.parent)})",
        ]
    for probe, protocol in columns:
        measured = page.measured(probe)
        parts += [
            f"## {title(probe, protocol).capitalize()}",
            accuracy_table(measured, probe, protocol),
        ]
    pairs = [p for p in dict.fromkeys(p for p, _ in columns) if _pairs(page.measured(p))]
    if pairs:
        parts += ["## Unlabelled rows of more classes", MORE_CLASSES]
    for probe in pairs:
        parts += [
            f"### {title(probe, 'inductive').capitalize()}",
            more_classes_table(page.measured(probe), probe),
        ]
    with replace_file(out) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")


def rank_table(ranks: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> str:
    """A row per baseline and rule, a column per probe and protocol, the best in bold."""
    names = list(next(iter(ranks.values())))
    lines = [["", *ranks], ["---"] * (1 + len(ranks))]
    for name in names:
        cells = []
        for found in ranks.values():
            mean, low, high = found[name]
            best = mean == min(m for m, *_ in found.values())
            cells.append(_bold(f"{mean:.1f}", best) + f" ({low:.1f} to {high:.1f})")
        lines.append([name, *cells])
    return _markdown(lines)


def accuracy_table(measured: Mapping[str, Mapping[str, Row]], probe: str, protocol: str) -> str:
    """A row per entry, a column per baseline and rule, the best in bold."""
    names = list(next(iter(measured.values())))
    lines = [["dataset", *names], ["---"] * (1 + len(names))]
    for entry, rows in measured.items():
        curves = [rows[name].curve(column(probe, protocol)) for name in names]
        best = max(curve.mean[-1] for curve in curves)
        cells = [
            _bold(f"{c.mean[-1]:.1%} ± {c.standard_error[-1]:.1%}", c.mean[-1] == best)
            for c in curves
        ]
        lines.append([entry, *cells])
    means = [np.mean([_mean(r[n], probe, protocol) for r in measured.values()]) for n in names]
    lines.append(["*mean*", *(_bold(f"{mean:.1%}", mean == max(means)) for mean in means)])
    return _markdown(lines)


def more_classes_table(measured: Mapping[str, Mapping[str, Row]], probe: str) -> str:
    """Points that every column gains by unlabelled rows of more classes, on the same draws."""
    names = list(next(iter(measured.values())))
    key = column(probe, "inductive")
    lines = [["dataset", *names], ["---"] * (1 + len(names))]
    for entry in _pairs(measured):
        same, more = measured[entry], measured[entry + MORE]
        gains = [Curve.of((0,), 100 * (more[n].draws(key) - same[n].draws(key))) for n in names]
        lines.append([entry, *(f"{g.mean[0]:+.1f} ± {g.standard_error[0]:.1f}" for g in gains)])
    return _markdown(lines)


def title(probe: str, protocol: str) -> str:
    """What a table is called; the suite has one logistic regression, the cross-validated one."""
    return column(probe.removesuffix("_cv"), protocol)


def _pairs(measured: Mapping[str, Mapping[str, Row]]) -> list[str]:
    return [name for name in measured if name + MORE in measured]


def _mean(row: Row, probe: str, protocol: str) -> float:
    return row.curve(column(probe, protocol)).mean[-1]


def _bold(cell: str, best: bool) -> str:
    return f"**{cell}**" if best else cell


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


MORE_CLASSES = f"""Entries named `…{MORE}` have the labels and test examples of their pair, but
unlabelled rows of more classes. Points gained by that, inductive, ± standard error over the draws;
raw inputs do not use unlabelled rows, random networks only for their statistics."""


def _introduction(page: SuitePage, out: Path) -> str:
    unmeasured = [n for n, rows in page.rows.items() if rows is None and n not in page.missing]
    left_out = "".join(f"\n\n{name} is left out: {why}." for name, why in page.missing.items())
    if unmeasured:
        left_out += f"\n\nNot measured yet: {', '.join(unmeasured)}."
    first = next(iter(page.suite.entries.values()))[0]
    penalties = ", ".join(f"{c:g}" for c in CHOICES_OF_C)
    return f"""# The suite, {page.half} half

```sh
{page.command}
```

Few-shot accuracy, mean ± standard error over the draws. Every draw has its own network, permutation
of the inputs, labels and test examples, the same for all columns. Rules train networks
(`{first.networks}`, or ones of as many units of the rule's own class) for {first.inner_steps:,}
inner steps on minibatches of {first.batch_size} unlabelled rows, with hidden states in
{page.suite.precision}. The entries, their datasets, labels and draws are in the configuration.

- *Ridge* is the meta-objective's regression (λ = {page.suite.ridge.ridge:g}) on features as they
  are: a small scale means a large penalty, which helps many features and hurts few. *Logistic* is a
  logistic regression: features are centred and scaled by one number, and C is chosen from
  {penalties} by {FOLDS}-fold cross-validation on the labels of every draw.
- *Inductive* embeds every labelled row alone, with batch statistics of unlabelled rows;
  *transductive* has the labelled rows of a draw share their own statistics. Columns of baselines
  are the same in both.
- *PCA* has {COMPONENTS} components, *k-means* {CENTROIDS} centroids with triangle activation
  (Coates & Ng 2012), *whitened k-means* the same after ZCA whitening, all fitted to the unlabelled
  rows; *PCA and k-means* joins both, each of root mean square norm {JOINED_NORM:g}. A *random
  network* is what rules start from: its top layer of {page.embedding_units} units, or all of its
  layers. The *untrained rule* has θ as it is initialised.
- Ranks are among all columns, 1 for the best, with 95% intervals of a bootstrap over datasets;
  entries of one dataset are drawn together.

The accuracy of every draw is in `{out.stem}/<entry>.json`.{left_out}"""
