"""Figure 6 centre and right: embeddings before and after, and how many dimensions they have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from lit_lul.learners.learner import Learner
from lit_lul.report.page import Check
from lit_lul.report.rows import Numbers
from lit_lul.report.study import Measurement
from studies.checks import over_draws, told
from studies.figures.measurements import Context
from studies.figures.panel import Panel

BEFORE, AFTER = MOMENTS = ("before", "after")
COMPONENTS = 3
SHARE = 0.95
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Dimensions(Panel[Numbers]):
    """Principal components of embeddings before and after the rule, and their variance."""

    name: ClassVar = "dimensions"
    figures: ClassVar = ("6",)
    title: ClassVar = "Figure 6 centre and right: embeddings"
    kind: ClassVar = Numbers
    paper: ClassVar = (
        "On two moons and on MNIST, classes that lie mixed before the rule are partly separate "
        "after it. The embedding of two moons has far fewer dimensions than that of MNIST, and "
        "both have fewer than its 32 units."
    )

    datasets: list[str] = field(default_factory=lambda: ["moons", "mnist14"])
    """Names of two datasets, the one of fewer dimensions first."""

    def measurements(self, context: Context) -> list[Measurement[Numbers]]:
        """A rule and a dataset each."""
        return [
            self._measurement(f"{name}, {dataset}", context, dataset, rule)
            for dataset in self.datasets
            for name, rule in context.rules.items()
        ]

    def _measurement(
        self, name: str, context: Context, dataset: str, rule: Learner
    ) -> Measurement[Numbers]:
        entry = context.entry(dataset)
        key = context.key(rule, entry.describe(), COMPONENTS)

        def measure() -> Numbers:
            draws, embedded = context.embeddings(rule, dataset, entry, (0, entry.inner_steps))
            values: dict[str, object] = {"labels": draws.query_labels[0].tolist()}
            for moment, (_, query) in zip(MOMENTS, embedded, strict=True):
                u = query.double().cpu().numpy()
                separate = zip(u, draws.query_labels.numpy(), strict=True)
                values[moment] = {
                    "points": PCA(COMPONENTS).fit_transform(u[0]).round(3).tolist(),
                    "cumulative": [cumulative(rows).round(4).tolist() for rows in u],
                    "between": [round(between(rows, labels), 4) for rows, labels in separate],
                }
            return Numbers(key, values)

        return Measurement(name, key, context.seconds(rule, entry), measure)

    def protocol(self, context: Context) -> str:
        """Steps, rows and draws."""
        return (
            f"{context.protocol(self.datasets[0])}; embeddings of the test rows of a draw, three "
            "principal components of the first draw, variance over all. *Between classes* is the "
            "share of the variance that the class means explain; *dimensions* is the number of "
            f"components with {SHARE:.0%} of the variance."
        )

    def draw(self, context: Context, rows: Mapping[str, Numbers]) -> Figure:
        """Points of the first rule before and after, and cumulative variance of all."""
        height, first = len(self.datasets), next(iter(context.rules))
        figure = Figure(figsize=(12, 3.4 * height), layout="constrained")
        right = figure.add_subplot(1, 3, 3)
        for i, dataset in enumerate(self.datasets):
            if row := rows.get(f"{first}, {dataset}"):
                for j, moment in enumerate(MOMENTS):
                    plot = figure.add_subplot(height, 3, 3 * i + j + 1, projection="3d")
                    points = np.array(row.values[moment]["points"]).T
                    plot.scatter(*points, c=row.values["labels"], cmap="tab10", s=6)
                    plot.set_title(f"{dataset} {moment} {first}", fontsize="small")
                    plot.set(xticklabels=[], yticklabels=[], zticklabels=[])
                _draw_shares(right, row, BEFORE, ":", f"C{i}", f"{dataset}, before")
            for rule, style in zip(context.rules, cycle(("-", "--"))):
                if row := rows.get(f"{rule}, {dataset}"):
                    _draw_shares(right, row, AFTER, style, f"C{i}", f"{dataset}, {rule}")
        right.axhline(SHARE, color="0.7", linewidth=1)
        right.set(xlabel="principal components", ylabel="cumulative variance", ylim=(0, 1.02))
        right.grid(alpha=0.3)
        right.legend(fontsize="small")
        return figure

    def checks(self, context: Context, rows: Mapping[str, Numbers]) -> list[Check]:
        """Classes separate; the dimensions of the datasets."""
        checks = []
        for rule in context.rules:
            found = {d: row for d in self.datasets if (row := rows.get(f"{rule}, {d}"))}
            for dataset, row in found.items():
                before, after = (np.array(row.values[moment]["between"]) for moment in MOMENTS)
                gained = f"variance between classes {told(after - before, 2, '+')}"
                held = over_draws(after - before).held
                checks.append(Check(f"`{rule}` separates the classes of {dataset}", gained, held))
            if len(found) > 1:
                few, many = (_dimensions(row) for row in found.values())
                names = " at most half the dimensions of ".join(found)
                against = f"{told(few, 1)} against {told(many, 1)}"
                held = over_draws(many - 2 * few).held
                checks.append(Check(f"`{rule}` gives {names}", against, held))
        return checks


def _draw_shares(
    axes: Axes, row: Numbers, moment: str, style: str, colour: str, label: str
) -> None:
    mean = np.mean(row.values[moment]["cumulative"], 0)
    axes.plot(range(1, len(mean) + 1), mean, style, color=colour, label=label)


def cumulative(rows: Rows) -> Rows:
    """Cumulative shares of variance of the principal components of (n, E)."""
    return np.cumsum(PCA().fit(rows).explained_variance_ratio_)


def between(rows: Rows, labels: NDArray[np.int64]) -> float:
    """Share of the variance of (n, E) that the means of the classes (n,) explain."""
    centred = rows - rows.mean(0)
    means = [(len(of), of.mean(0)) for c in np.unique(labels) for of in [centred[labels == c]]]
    return float(sum(n * (m**2).sum() for n, m in means) / max((centred**2).sum(), 1e-12))


def _dimensions(row: Numbers) -> NDArray[np.int64]:
    """Components to `SHARE` of the variance after the rule, of every draw."""
    shares = np.array(row.values[AFTER]["cumulative"])
    components: NDArray[np.int64] = 1 + (shares < SHARE).sum(1)
    return components
