"""The two plots of studies: curves against steps, and means with intervals."""

from collections.abc import Mapping

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.pictures import draw_line

ACROSS = 4
"""Largest number of panels beside each other."""


def lines(
    panels: Mapping[str, Mapping[str, Curve]], x: str, y: str, *, log: tuple[str, ...] = ()
) -> Figure:
    """Curves against steps with bands of a standard error; a panel each, with one legend.

    A curve of one step is a dashed horizontal line.

    Args:
        panels: curves by name, by the panel's title; a name has one colour in all panels.
        x: label of the steps.
        y: label of the values.
        log: axes that are logarithmic, of `x` (linear up to 10) and `y`.
    """
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(1 + 3.4 * across, 1 + 2.8 * down), layout="constrained")
    plots = figure.subplots(down, across, squeeze=False).flatten()
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    handles: dict[str, Artist] = {}
    for axes, (title, curves) in zip(plots, panels.items(), strict=False):
        for name, curve in curves.items():
            colour = f"C{names.index(name) % 10}"
            if len(curve.steps) > 1:
                draw_line(axes, curve, colour, "-", name)
            else:
                axes.axhline(curve.mean[0], color=colour, linestyle="--", label=name)
        if "x" in log:
            axes.set_xscale("symlog", linthresh=10)
        if "y" in log:
            axes.set_yscale("log")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        drawn, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    for axes in plots[len(panels) :]:
        axes.axis("off")
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=min(len(handles), 4),
    )
    figure.supxlabel(x)
    figure.supylabel(y)
    return figure


def bars(panels: Mapping[str, Mapping[str, tuple[float, float, float]]], x: str) -> Figure:
    """Means with intervals: a panel each, beside each other, a line per name.

    Args:
        panels: mean and the interval's bounds by name, by the panel's title; all panels have the
            names of the first.
        x: label of the values.
    """
    names = list(next(iter(panels.values())))
    figure = Figure(figsize=(2 + 2.6 * len(panels), 1 + 0.3 * len(names)), layout="constrained")
    plots = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, found) in zip(plots, panels.items(), strict=True):
        for place, name in enumerate(names):
            mean, low, high = found[name]
            axes.plot([low, high], [place, place], color=f"C{place % 10}", linewidth=2)
            axes.plot(mean, place, "o", color=f"C{place % 10}")
        axes.set_title(title, fontsize="medium")
        axes.grid(alpha=0.3)
    plots[0].set_yticks(range(len(names)), names)
    plots[0].invert_yaxis()
    figure.supxlabel(x)
    return figure
