"""The figure of the report: accuracy against inner steps, a plot per dataset."""

from collections.abc import Mapping
from itertools import cycle

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lit_lul.evaluation.baselines import BASELINES
from lit_lul.evaluation.pictures import draw_line
from lit_lul.report.stored_rows import Row

COLUMNS_OF_PLOTS = 4


def draw_report(probe: str, measured: Mapping[str, Mapping[str, Row]]) -> Figure:
    """Accuracy against inner steps, a plot per dataset, with baselines as horizontal lines."""
    columns = min(COLUMNS_OF_PLOTS, len(measured))
    lines = -(-len(measured) // columns)
    figure = Figure(figsize=(1 + 3.4 * columns, 1 + 2.8 * lines), layout="constrained")
    plots = figure.subplots(lines, columns, squeeze=False).flatten()
    for plot, (dataset, rows) in zip(plots, measured.items(), strict=False):
        _draw_dataset(plot, dataset, rows, probe)
    for plot in plots[len(measured) :]:
        plot.axis("off")
    handles, labels = plots[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), columns + 1))
    figure.suptitle(f"few-shot accuracy against inner steps, {probe}")
    return figure


def _draw_dataset(plot: Axes, dataset: str, rows: Mapping[str, Row], probe: str) -> None:
    # a listed colormap, which has `colors`; matplotlib types only the base class
    colour = cycle(colormaps["tab10"].colors)  # type: ignore[attr-defined]
    for name, row in rows.items():
        curve = row.curve(probe)
        if len(curve.steps) > 1:
            draw_line(plot, curve, next(colour), "-", name)
        elif name in BASELINES:
            plot.axhline(curve.mean[0], color=next(colour), linestyle="--", label=name)
    plot.set_title(dataset)
    plot.grid(alpha=0.3)
