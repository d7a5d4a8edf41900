"""Figure 6 centre and right: embeddings before and after, and how many dimensions they have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from lit_lul.evaluation.curve import embed_labelled
from lit_lul.evaluation.draws import Draws
from lit_lul.learners.learner import Learner
from lit_lul.learners.rollout import rollout
from lit_lul.report.stored_rows import Numbers, autocast
from studies.figures.context import RIDGE, Context
from studies.figures.panel import Check, Measurement, Panel

BEFORE, AFTER = MOMENTS = ("before", "after")
COMPONENTS = 3
SHARE = 0.95
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class DimensionsSettings:
    """Datasets whose embeddings are compared."""

    datasets: list[str] = field(default_factory=lambda: ["moons", "mnist14"])
    """Names of two datasets, the one of fewer dimensions first."""


class Dimensions(Panel[Numbers]):
    """Principal components of embeddings before and after the rule, and their variance."""

    name, figure, title = "dimensions", ("6",), "Figure 6 centre and right: embeddings"
    kind = Numbers
    paper = (
        "On two moons and on MNIST, classes that lie mixed before the rule are partly separate "
        "after it. The embedding of two moons has far fewer dimensions than that of MNIST, and "
        "both have fewer than its 32 units."
    )

    def __init__(self, settings: DimensionsSettings, context: Context) -> None:
        self._datasets, self._context = settings.datasets, context

    def measurements(self) -> list[Measurement[Numbers]]:
        """A rule and a dataset each."""
        return [
            self._measurement(f"{name}, {dataset}", dataset, rule)
            for dataset in self._datasets
            for name, rule in self._context.rules.items()
        ]

    def _measurement(self, name: str, dataset: str, rule: Learner) -> Measurement[Numbers]:
        entry = self._context.entry(dataset)
        key = self._context.key(rule, entry.describe(), COMPONENTS)

        def measure() -> Numbers:
            data = self._context.load(dataset)
            draws = Draws(data, entry, range(entry.draws), next(rule.parameters()))
            network = entry.network_of(rule, data.x.shape[1])
            values: dict[str, object] = {"labels": draws.query_labels[0].tolist()}
            steps = (0, entry.inner_steps)
            with torch.no_grad(), autocast(self._context.precision):
                start = draws.start(rule, network)
                states = rollout(rule, network, start, draws.minibatch, steps)
                for moment, (_, state) in zip(MOMENTS, states, strict=True):
                    params = rule.parameters_of(state)
                    _, u = embed_labelled(entry.protocol, RIDGE, network, params, draws)
                    embeddings = u.double().cpu().numpy()
                    values[moment] = {
                        "points": PCA(COMPONENTS).fit_transform(embeddings[0]).round(3).tolist(),
                        "cumulative": [cumulative(e).round(4).tolist() for e in embeddings],
                        "between": [
                            round(between(e, labels.numpy()), 4)
                            for e, labels in zip(embeddings, draws.query_labels, strict=True)
                        ],
                    }
            return Numbers(key, values)

        return Measurement(name, key, self._context.seconds(rule, entry), measure)

    def protocol(self) -> str:
        """Steps, rows and draws."""
        entry = self._context.entry(self._datasets[0])
        return (
            f"{entry.inner_steps} inner steps, `{entry.networks}`, {entry.protocol}; embeddings of "
            "the test rows of a draw, three principal components each of the first draw, "
            f"variance over {entry.draws} draws. *Between classes* is the share of the variance "
            "that the class means explain."
        )

    def draw(self, rows: Mapping[str, Numbers]) -> Figure:
        """Points of the first rule before and after, and cumulative variance of all."""
        figure = Figure(figsize=(12, 3.4 * len(self._datasets)), layout="constrained")
        lines = len(self._datasets)
        for i, dataset in enumerate(self._datasets):
            if row := rows.get(f"{self._context.first}, {dataset}"):
                for j, moment in enumerate(MOMENTS):
                    plot = figure.add_subplot(lines, 3, 3 * i + j + 1, projection="3d")
                    points = np.array(row.values[moment]["points"]).T
                    plot.scatter(*points, c=row.values["labels"], cmap="tab10", s=6)
                    plot.set_title(f"{dataset} {moment} {self._context.first}", fontsize="small")
                    plot.set(xticklabels=[], yticklabels=[], zticklabels=[])
        plot = figure.add_subplot(1, 3, 3)
        for i, dataset in enumerate(self._datasets):
            for j, rule in enumerate(self._context.rules):
                if row := rows.get(f"{rule}, {dataset}"):
                    for moment, style in zip(MOMENTS, (":", ("-", "--")[j % 2]), strict=True):
                        if moment == AFTER or j == 0:
                            mean = np.mean(row.values[moment]["cumulative"], 0)
                            label = f"{dataset}, {rule if moment == AFTER else moment}"
                            plot.plot(
                                range(1, len(mean) + 1), mean, style, color=f"C{i}", label=label
                            )
        plot.axhline(SHARE, color="0.7", linewidth=1)
        plot.set(xlabel="principal components", ylabel="cumulative variance", ylim=(0, 1.02))
        plot.grid(alpha=0.3)
        plot.legend(fontsize="small")
        return figure

    def shows(self, rows: Mapping[str, Numbers]) -> str:
        """Components to 95% of the variance, and variance between classes."""
        return " ".join(
            f"`{rule}` on {dataset}: {_told(_components(row, AFTER), 1)} components have "
            f"{SHARE:.0%} of the variance, {_told(_components(row, BEFORE), 1)} before; between "
            f"classes {_told(row.values[AFTER]['between'], 2)}, "
            f"{_told(row.values[BEFORE]['between'], 2)} before."
            for rule in self._context.rules
            for dataset in self._datasets
            if (row := rows.get(f"{rule}, {dataset}"))
        )

    def checks(self, rows: Mapping[str, Numbers]) -> list[Check]:
        """Classes separate; dimensions of the datasets."""
        checks, (few, many) = [], (self._datasets[0], self._datasets[-1])
        for rule in self._context.rules:
            for dataset in self._datasets:
                if row := rows.get(f"{rule}, {dataset}"):
                    before, after = (row.values[moment]["between"] for moment in MOMENTS)
                    gain = np.array(after) - np.array(before)
                    checks.append(
                        Check(
                            f"`{rule}` separates the classes of {dataset}",
                            bool(gain.mean() > 2 * gain.std(ddof=1) / len(gain) ** 0.5),
                            f"variance between classes {_told(gain, 2, '+')}",
                        )
                    )
            pair = [rows.get(f"{rule}, {dataset}") for dataset in (few, many)]
            if few != many and pair[0] is not None and pair[1] is not None:
                least, most = (_components(row, AFTER) for row in pair if row is not None)
                checks.append(
                    Check(
                        f"`{rule}` gives {few} at most half the dimensions of {many}",
                        2 * least.mean() <= most.mean(),
                        f"{_told(least, 1)} against {_told(most, 1)}",
                    )
                )
        return checks


def cumulative(rows: Rows) -> Rows:
    """Cumulative shares of variance of the principal components of (n, E)."""
    shares: Rows = np.cumsum(PCA().fit(rows).explained_variance_ratio_)
    return shares


def between(rows: Rows, labels: NDArray[np.int64]) -> float:
    """Share of the variance of (n, E) that the means of the classes (n,) explain."""
    centred = rows - rows.mean(0)
    means = [(len(of), of.mean(0)) for c in np.unique(labels) for of in [centred[labels == c]]]
    return float(sum(n * (m**2).sum() for n, m in means) / max((centred**2).sum(), 1e-12))


def _components(row: Numbers, moment: str) -> NDArray[np.int64]:
    """Components to `SHARE` of the variance, of every draw."""
    shares = np.array(row.values[moment]["cumulative"])
    components: NDArray[np.int64] = 1 + (shares < SHARE).sum(1)
    return components


def _told(values: Sequence[float] | NDArray[np.generic], digits: int, sign: str = "") -> str:
    draws = np.array(values, dtype=np.float64)
    error = draws.std(ddof=1) / len(draws) ** 0.5
    return f"{draws.mean():{sign}.{digits}f} ± {error:.{digits}f}"


def panels(settings: DimensionsSettings, context: Context) -> Sequence[Panel[Numbers]]:
    """The panel."""
    return [Dimensions(settings, context)]
