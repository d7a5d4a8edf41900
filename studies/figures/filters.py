"""Figure 6 left: what the units of the first layer respond to, along meta-training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from lit_lul.report.stored_rows import Numbers, autocast
from matplotlib.figure import Figure
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.pictures import tile_receptive_fields
from lit_lul.learners.learner import Learner
from lit_lul.networks.network import RowNetwork
from studies.figures.context import RIDGE, Context
from studies.figures.panel import Check, Measurement, Panel

GRID = 4
START = "random"
LEVELS = 255


@dataclass(frozen=True)
class FiltersSettings:
    """Datasets whose filters are shown."""

    datasets: list[str] = field(default_factory=lambda: ["mnist28", "mnist14", "glyphs"])
    """Names of image datasets."""
    inner_steps: int = 240
    """Inner steps; the paper had 10,000."""


class Filters(Panel[Numbers]):
    """Filters of one draw: at random, of θ along a run, and of the rules."""

    name, figure, title = "filters", ("6",), "Figure 6 left: filters of the first layer"
    kind = Numbers
    paper = (
        "Early in meta-training filters are noise; later they are templates of digits on MNIST, "
        "and local features on CIFAR-10."
    )

    def __init__(self, settings: FiltersSettings, context: Context) -> None:
        self._settings, self._context = settings, context

    def _learners(self) -> dict[str, Learner]:
        thetas = {f"outer step {t.outer_step}": t.learner for t in self._context.thetas}
        return {START: self._context.untrained} | thetas | dict(self._context.rules)

    def measurements(self) -> list[Measurement[Numbers]]:
        """A dataset and a θ each."""
        return [
            self._measurement(f"{dataset}, {name}", dataset, learner, name == START)
            for dataset in self._settings.datasets
            for name, learner in self._learners().items()
        ]

    def _measurement(
        self, name: str, dataset: str, learner: Learner, start: bool
    ) -> Measurement[Numbers]:
        # the first layer before the first step hardly differs from that after a step of rate 1e-4
        entry = replace(
            self._context.entry(dataset), inner_steps=self._settings.inner_steps, points=1
        )
        key = self._context.key(learner, entry.describe(), start, GRID)

        def measure() -> Numbers:
            weights, shape = self._weights(dataset, entry, learner, start)
            fields = weights.T.reshape(-1, *shape)
            shown = fields[: GRID**2].flatten(1)
            low, high = shown.amin(1, keepdim=True), shown.amax(1, keepdim=True)
            levels = LEVELS * (shown - low) / (high - low).clamp(min=1e-12)
            values = {
                "shape": list(shape),
                "filters": levels.round().int().tolist(),
                "neighbours": [round(value, 4) for value in neighbours(fields).tolist()],
            }
            return Numbers(key, values)

        seconds = 0.0 if start else self._context.seconds(learner, entry) / entry.draws
        return Measurement(name, key, seconds, measure)

    def _weights(
        self, dataset: str, entry: HeldOut, learner: Learner, start: bool
    ) -> tuple[Tensor, tuple[int, int, int]]:
        """First-layer weights of the first draw, (N_0, N_1), and the shape of images."""
        data = self._context.load(dataset)
        if data.image_shape is None:
            raise InvalidInput(f"filters of {dataset}: expected images")
        if start:
            network = entry.network_of(learner, data.x.shape[1])
            assert isinstance(network, RowNetwork)  # entries embed rows
            params = network.init(1, torch.Generator().manual_seed(entry.seed))
            return network.receptive_fields(params)[0], data.image_shape
        with autocast(self._context.precision):
            weights = roll_out_draws(learner, RIDGE, data, entry, [0]).first_layer
        assert weights is not None  # entries embed rows
        return weights, data.image_shape

    def protocol(self) -> str:
        """Steps and what is shown."""
        return (
            f"the first {GRID**2} units of one draw after {self._settings.inner_steps} inner "
            "steps, each scaled to its own range, with inputs back in their order. *Neighbours* is "
            "the correlation of a filter's adjacent pixels, mean ± standard error over all units: "
            "0 for noise."
        )

    def draw(self, rows: Mapping[str, Numbers]) -> Figure:
        """A row per dataset, a column per θ."""
        datasets, learners = self._settings.datasets, list(self._learners())
        size = (1.6 * len(learners), 0.3 + 1.7 * len(datasets))
        figure = Figure(figsize=size, layout="constrained")
        plots = figure.subplots(len(datasets), len(learners), squeeze=False)
        for plot_row, dataset in zip(plots, datasets, strict=True):
            for plot, learner in zip(plot_row, learners, strict=True):
                plot.set_xticks([])
                plot.set_yticks([])
                if dataset == datasets[0]:
                    plot.set_title(learner, fontsize="small")
                if learner == learners[0]:
                    plot.set_ylabel(dataset, fontsize="small")
                if row := rows.get(f"{dataset}, {learner}"):
                    weights = torch.tensor(row.values["filters"], dtype=torch.float32).T
                    tiles = tile_receptive_fields(weights, tuple(row.values["shape"]), GRID)
                    plot.imshow(tiles, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        return figure

    def shows(self, rows: Mapping[str, Numbers]) -> str:
        """Correlation of neighbours, of all θ."""
        return "Neighbours: " + " ".join(
            f"{dataset} "
            + ", ".join(
                f"{mean:.2f} ± {error:.2f} ({learner})"
                for learner in self._learners()
                if (row := rows.get(f"{dataset}, {learner}"))
                for mean, error in [_mean(row)]
            )
            + "."
            for dataset in self._settings.datasets
        )

    def checks(self, rows: Mapping[str, Numbers]) -> list[Check]:
        """Filters are smoother than at random."""
        checks = []
        for rule in self._context.rules:
            found = {
                dataset: (_mean(rows[after]), _mean(rows[before]))
                for dataset in self._settings.datasets
                if (after := f"{dataset}, {rule}") in rows
                and (before := f"{dataset}, {START}") in rows
            }
            if found:
                least = min(found, key=lambda dataset: found[dataset][0][0])
                (mean, error), (noise, noise_error) = found[least]
                checks.append(
                    Check(
                        f"filters of `{rule}` are smooth where random ones are noise",
                        all(a[0] - b[0] > 2 * (a[1] + b[1]) for a, b in found.values()),
                        f"least {mean:.2f} ± {error:.2f} against {noise:.2f} ± {noise_error:.2f} "
                        f"({least})",
                    )
                )
        return checks


def neighbours(fields: Tensor) -> Tensor:
    """Correlation of horizontally and vertically adjacent pixels of fields (n, C, H, W): (n,)."""
    centred = fields - fields.mean((1, 2, 3), keepdim=True)
    variance = centred.square().mean((1, 2, 3)).clamp(min=1e-12)
    across = (centred[..., 1:] * centred[..., :-1]).mean((1, 2, 3))
    down = (centred[..., 1:, :] * centred[..., :-1, :]).mean((1, 2, 3))
    return (across + down) / 2 / variance


def _mean(row: Numbers) -> tuple[float, float]:
    values = np.array(row.values["neighbours"])
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def panels(settings: FiltersSettings, context: Context) -> Sequence[Panel[Numbers]]:
    """The panel."""
    return [Filters(settings, context)]
