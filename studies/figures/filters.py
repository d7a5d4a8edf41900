"""Figure 6 left: what the units of the first layer respond to, along meta-training."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.pictures import tile_receptive_fields
from lit_lul.learners.learner import Learner
from lit_lul.networks import RowNetwork
from lit_lul.report.page import Check
from lit_lul.report.rows import Numbers, autocast
from lit_lul.report.study import Measurement
from studies.checks import everywhere, over_draws, told
from studies.figures.measurements import RIDGE, Context
from studies.figures.panel import Panel

GRID = 4
START = "random"
LEVELS = 255


@dataclass(frozen=True)
class Filters(Panel[Numbers]):
    """Filters of one draw: at random, of θ along a run, and of the rules."""

    name: ClassVar = "filters"
    figures: ClassVar = ("6",)
    title: ClassVar = "Figure 6 left: filters of the first layer"
    kind: ClassVar = Numbers
    paper: ClassVar = (
        "Early in meta-training filters are noise; later they are templates of digits on MNIST, "
        "and local features on CIFAR-10."
    )

    datasets: list[str] = field(default_factory=lambda: ["mnist28", "mnist14", "glyphs"])
    """Names of image datasets."""
    inner_steps: int = 240
    """Inner steps; the paper had 10,000."""

    def measurements(self, context: Context) -> list[Measurement[Numbers]]:
        """A dataset and a θ each."""
        return [
            self._measurement(f"{dataset}, {name}", context, dataset, learner, name == START)
            for dataset in self.datasets
            for name, learner in self._learners(context).items()
        ]

    def _learners(self, context: Context) -> dict[str, Learner]:
        thetas = {f"outer step {t.outer_step}": t.learner for t in context.thetas}
        return {START: context.initial} | thetas | dict(context.rules)

    def _measurement(
        self, name: str, context: Context, dataset: str, learner: Learner, start: bool
    ) -> Measurement[Numbers]:
        # the first layer before the first step hardly differs from that after a step of rate 1e-4
        entry = replace(context.entry(dataset), inner_steps=self.inner_steps, points=1)
        key = context.key(learner, entry.describe(), start, GRID)

        def measure() -> Numbers:
            data = context.load(dataset)
            if (shape := data.image_shape) is None:
                raise InvalidInput(f"filters of {dataset}: expected images")
            with autocast(context.precision):
                if start:
                    network = entry.network_of(learner, data.x.shape[1])
                    assert isinstance(network, RowNetwork)  # entries embed rows
                    params = network.init(1, torch.Generator().manual_seed(entry.seed))
                    weights = network.receptive_fields(params)[0]
                else:
                    trained = roll_out_draws(learner, RIDGE, data, entry, [0]).first_layer
                    assert trained is not None  # entries embed rows
                    weights = trained
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

        seconds = 0.0 if start else context.seconds(learner, entry) / entry.draws
        return Measurement(name, key, seconds, measure)

    def protocol(self, context: Context) -> str:
        """Steps and what is shown."""
        return (
            f"the first {GRID**2} units of one draw after {self.inner_steps} inner steps, each "
            "scaled to its own range, with inputs back in their order; *random* is before the "
            "inner loop. *Neighbours* is the correlation of a filter's adjacent pixels, mean ± "
            "standard error over all units: 0 for noise."
        )

    def draw(self, context: Context, rows: Mapping[str, Numbers]) -> Figure:
        """A row per dataset, a column per θ."""
        learners = list(self._learners(context))
        size = (1.6 * len(learners), 0.3 + 1.7 * len(self.datasets))
        figure = Figure(figsize=size, layout="constrained")
        plots = figure.subplots(len(self.datasets), len(learners), squeeze=False)
        for plot, learner in zip(plots[0], learners, strict=True):
            plot.set_title(learner, fontsize="small")
        for plot_row, dataset in zip(plots, self.datasets, strict=True):
            plot_row[0].set_ylabel(dataset, fontsize="small")
            for plot, learner in zip(plot_row, learners, strict=True):
                plot.set(xticks=[], yticks=[])
                if row := rows.get(f"{dataset}, {learner}"):
                    weights = torch.tensor(row.values["filters"], dtype=torch.float32).T
                    tiles = tile_receptive_fields(weights, tuple(row.values["shape"]), GRID)
                    plot.imshow(tiles, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        return figure

    def checks(self, context: Context, rows: Mapping[str, Numbers]) -> list[Check]:
        """Filters are smoother than at random."""
        checks = []
        for rule in context.rules:
            found = {
                dataset: [np.array(rows[name].values["neighbours"]) for name in names]
                for dataset in self.datasets
                if {*(names := (f"{dataset}, {rule}", f"{dataset}, {START}"))} <= rows.keys()
            }
            gaps = {dataset: over_draws(after - start) for dataset, (after, start) in found.items()}
            for check in everywhere(
                f"filters of `{rule}` are smooth where random ones are not", gaps
            ):
                least = min(found, key=lambda dataset: found[dataset][0].mean())
                after, start = (told(values, 2) for values in found[least])
                checks.append(check._replace(numbers=f"least {after} against {start} ({least})"))
        return checks


def neighbours(fields: Tensor) -> Tensor:
    """Correlation of horizontally and vertically adjacent pixels of fields (n, C, H, W): (n,)."""
    centred = fields - fields.mean((1, 2, 3), keepdim=True)
    variance = centred.square().mean((1, 2, 3)).clamp(min=1e-12)
    across = (centred[..., 1:] * centred[..., :-1]).mean((1, 2, 3))
    down = (centred[..., 1:, :] * centred[..., :-1, :]).mean((1, 2, 3))
    return (across + down) / 2 / variance
