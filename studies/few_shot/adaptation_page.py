"""The page about adapting: features on and off task, reuse of layers, learned rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from lit_lul.files.atomic import replace_file
from lit_lul.report.stored_rows import Row
from studies.few_shot.adaptation import (
    BEFORE,
    LAYER,
    OFF_TASK,
    ON_TASK,
    WITH_HEAD,
    LayerRates,
)
from studies.few_shot.config import StudyConfig
from studies.few_shot.table_page import interval, markdown, points

MAML, META_SGD = "MAML", "Meta-SGD"
"""Names of the runs that the claims are about."""
CLAIMS = (
    ("Blog: off-task accuracy rises for Meta-SGD.", META_SGD, OFF_TASK, "rises"),
    ("Blog: off-task accuracy falls for MAML.", MAML, OFF_TASK, "falls"),
    ("Blog: on-task accuracy falls for Meta-SGD.", META_SGD, ON_TASK, "falls"),
    ("Blog: on-task accuracy falls for MAML.", MAML, ON_TASK, "falls"),
    ("Later paper: on-task accuracy rises for MAML.", MAML, ON_TASK, "rises"),
)
"""Claim, run, what is compared with the features before adapting, and what it does."""
BINS = 60
QUANTILE = 0.995
"""Share of the rates that a histogram shows."""


@dataclass(frozen=True)
class SourceStudy:
    """What was measured on one source."""

    rows: Mapping[str, Row]
    """By run: see `adaptation.measure`."""
    rates: Mapping[str, Sequence[LayerRates]]
    """By run with learned rates."""


@dataclass(frozen=True)
class AdaptationPage:
    """The content of the page."""

    command: str
    """The command that measures everything in it."""
    studies: StudyConfig
    shots: int
    """Labels per class of all episodes."""
    sources: Mapping[str, SourceStudy]
    """By name."""
    missing: Sequence[str]
    """What was left out, and why."""


def write_adaptation(page: AdaptationPage, out: Path) -> None:
    """Write the markdown, and the pictures into the folder of the same name.

    Raises:
        InvalidInput: when a file cannot be written.
    """
    folder = out.with_suffix("")
    parts = [_introduction(page, out)]
    for name, study in page.sources.items():
        picture = folder / f"{name}.png"
        with replace_file(picture) as temporary:
            draw_study(study).savefig(temporary, format="png", dpi=110)
        parts += [
            f"## {name}",
            f"![Learned rates, features, and similarity of layers]({folder.name}/{picture.name})",
            "### Learned rates",
            rates_table(study.rates),
            "### Features without the head",
            features_table(study.rows),
            answers(study),
            "### Reuse",
            reuse_table(study.rows),
        ]
    parts += [f"{why}." for why in page.missing]
    with replace_file(out) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")


def rates_table(rates: Mapping[str, Sequence[LayerRates]]) -> str:
    """Mean, share of negative rates and share of zeros of every layer of every run."""
    header = ["", "layer", "rates", "mean", "negative", "zero"]
    table = [header, ["---"] * len(header)]
    for name, layers in rates.items():
        for layer in layers:
            shares = [f"{layer.negative:.0%}", f"{layer.zero:.0%}"]
            mean = f"{layer.rates.mean():+.3f}"
            table.append([name, layer.name, f"{len(layer.rates):,}", mean, *shares])
    return markdown(table)


def features_table(rows: Mapping[str, Row]) -> str:
    """Nearest-neighbour accuracy of stripped features, and paired differences."""
    header = ["", BEFORE, ON_TASK, OFF_TASK, f"{ON_TASK} − {BEFORE}", f"{OFF_TASK} − {BEFORE}"]
    table = [header, ["---"] * len(header)]
    for name, row in rows.items():
        before, on_task, off_task = (of_episodes(row, n) for n in (BEFORE, ON_TASK, OFF_TASK))
        cells = []
        for values in (before, on_task, off_task):
            mean, half = interval(values)
            cells.append(f"{mean:.1%} ± {half:.1%}")
        table.append([name, *cells, points(on_task - before), points(off_task - before)])
    return markdown(table)


def answers(study: SourceStudy) -> str:
    """Which of `CLAIMS` hold; a claim about a run that is missing is left out."""
    lines = []
    for text, name, measure, expected in CLAIMS:
        if name in study.rows:
            row = study.rows[name]
            found = verdict(of_episodes(row, measure) - of_episodes(row, BEFORE))
            holds = "holds" if found == expected else "does not hold"
            lines.append(f"- {text} **{holds}**: it {found}.")
    if META_SGD in study.rates:
        weights = [layer for layer in study.rates[META_SGD] if "weights" in layer.name]
        below = all(layer.rates.mean() < 0 for layer in weights[:-1])
        holds = "holds" if below and weights[-1].rates.mean() > 0 else "does not hold"
        means = ", ".join(f"{layer.rates.mean():+.3f}" for layer in weights)
        lines.append(
            "- Blog: the mean learned rate is negative in every layer but the output. "
            f"**{holds.capitalize()}**: the means of the weights' rates are {means}."
        )
    return "\n".join(lines)


def verdict(difference: np.ndarray) -> str:
    """Whether a paired difference rises or falls beyond its interval."""
    mean, half = interval(difference)
    if abs(mean) <= half:
        return "does not change beyond the interval"
    return "rises" if mean > 0 else "falls"


def reuse_table(rows: Mapping[str, Row]) -> str:
    """CKA of every layer before and after adapting, beside the accuracy with the head."""
    layers = sorted({n for row in rows.values() for n in row.accuracy if n.startswith(LAYER)})
    header = ["", *(f"CKA, {name}" for name in layers), f"accuracy {WITH_HEAD}", f"− {MAML}"]
    table = [header, ["---"] * len(header)]
    for name, row in rows.items():
        similar = [f"{of_episodes(row, n).mean():.2f}" if n in row.accuracy else "" for n in layers]
        accuracy = of_episodes(row, WITH_HEAD)
        mean, half = interval(accuracy)
        above = ""
        if MAML in rows and name != MAML:
            above = points(accuracy - of_episodes(rows[MAML], WITH_HEAD))
        table.append([name, *similar, f"{mean:.1%} ± {half:.1%}", above])
    return markdown(table)


def draw_study(study: SourceStudy) -> Figure:
    """Histograms of learned rates by layer, accuracy of features, and similarity of layers."""
    layers = [layer.name for layer in next(iter(study.rates.values()), [])]
    weights = [name for name in layers if "weights" in name]
    columns = max(2, len(weights))
    figure = Figure(figsize=(3.6 * columns, 6), layout="constrained")
    upper: SubFigure
    lower: SubFigure
    upper, lower = figure.subfigures(2, 1)  # type: ignore[misc]  # typed as one of them
    if weights:
        for panel, name in zip(
            upper.subplots(1, len(weights), squeeze=False)[0], weights, strict=True
        ):
            _histograms(panel, name, study.rates)
    features, similar = lower.subplots(1, 2)
    _bars(features, study.rows)
    for name, row in study.rows.items():
        found = [of_episodes(row, n).mean() for n in row.accuracy if n.startswith(LAYER)]
        similar.plot(range(1, len(found) + 1), found, "o-", label=name)
    similar.set_title("linear CKA before and after adapting", fontsize="medium")
    similar.set_xlabel("layer")
    similar.set_ylim(0, 1.05)
    similar.xaxis.get_major_locator().set_params(integer=True)
    similar.legend(fontsize="small")
    return figure


def _histograms(panel: Axes, name: str, rates: Mapping[str, Sequence[LayerRates]]) -> None:
    """Rates of one layer, of every run."""
    of_runs = {
        run: next(la.rates for la in layers if la.name == name) for run, layers in rates.items()
    }
    every = torch.cat(list(of_runs.values()))
    low, high = every.quantile(torch.tensor([1 - QUANTILE, QUANTILE])).tolist()
    for run, values in of_runs.items():
        shape: Any = {"bins": BINS, "range": (low, high), "histtype": "step", "density": True}
        panel.hist(values.numpy(), label=run, **shape)
    panel.axvline(0, color="grey", linewidth=0.8)
    panel.set_title(f"rates of {name}", fontsize="medium")
    panel.set_yscale("log")
    panel.legend(fontsize="small")


def _bars(panel: Axes, rows: Mapping[str, Row]) -> None:
    """Nearest-neighbour accuracy of stripped features."""
    for place, measure in enumerate((BEFORE, ON_TASK, OFF_TASK)):
        found = [interval(of_episodes(row, measure)) for row in rows.values()]
        at = np.arange(len(rows)) + 0.27 * (place - 1)
        means, halves = zip(*found, strict=True)
        panel.bar(at, means, 0.25, yerr=halves, label=measure)
    panel.set_xticks(range(len(rows)), rows, rotation=15, fontsize="small")
    panel.set_title("nearest neighbour on features without the head", fontsize="medium")
    panel.set_ylim(0, 1)
    panel.legend(fontsize="small", loc="lower right")


def of_episodes(row: Row, name: str) -> np.ndarray:
    """One number for every episode."""
    return np.array(row.accuracy[name][0])


def _introduction(page: AdaptationPage, out: Path) -> str:
    return f"""# What adapting to a task changes

```sh
{page.command}
```

Measured on {page.studies.episodes} {page.shots}-shot test episodes of classes that training does
not see, the same for all learners, which are those of the configuration. Intervals are 95%, over
episodes; differences are paired by episode. One seed of meta-training each.

- *Learned rates*: the inner rates of Meta-SGD, a rate for every parameter. *Meta-SGD, clamped* is
  the control: rates below zero count as zero, in training too.
- *Features without the head*: the layer below the head. Every query gets the class of the nearest
  support example; before adapting, after adapting to the tested episode ({ON_TASK}), and after
  adapting to another one ({OFF_TASK}), whose classes are drawn independently.
- *Reuse*: linear CKA of a layer's activations before and after adapting to the episode, 1 if they
  are the same up to rotation and scale. The last layer is the head.

The claims tested are those of the blog post "Negative Learning Rates in Deep Learning Learn
Universal Features", and of its author's later paper (arXiv 2203.10185). The numbers of every
episode are in `{out.stem}/<source>.json`."""
