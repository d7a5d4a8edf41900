"""The picture of a held-out curve over meta-training."""

from collections.abc import Mapping

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from lit_lul.evaluation.curve import Curve


def draw_curves(title: str, untrained: Curve, by_outer_step: Mapping[int, Curve]) -> Figure:
    """Accuracy against inner steps: a line per outer step, dark to bright, and the untrained rule.

    Bands are one standard error on either side.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    last = max(1, *by_outer_step)
    for outer_step, curve in sorted(by_outer_step.items()):
        _line(axes, curve, colormaps["viridis"](outer_step / last), "-")
    _line(axes, untrained, "0.4", "--", "untrained rule")
    scale = ScalarMappable(Normalize(0, last), "viridis")
    figure.colorbar(scale, ax=axes, label="outer steps of meta-training")
    axes.set(
        title=title,
        xlabel="inner steps (unlabelled minibatches)",
        ylabel="few-shot accuracy",
        xlim=(untrained.steps[0], untrained.steps[-1]),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return figure


def _line(axes: Axes, curve: Curve, colour: ColorType, style: str, label: str = "") -> None:
    axes.plot(curve.steps, curve.mean, style, color=colour, label=label)
    low, high = (
        [m + sign * e for m, e in zip(curve.mean, curve.standard_error, strict=True)]
        for sign in (-1, 1)
    )
    axes.fill_between(curve.steps, low, high, color=colour, alpha=0.2, linewidth=0)
