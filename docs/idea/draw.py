"""Draws the pictures of docs/idea.md, beside this file:

python docs/idea/draw.py
"""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from lit_lul import apply_rule, load_rule

HERE = Path(__file__).parent
TEAL, ORANGE, GREY = "#00796b", "#d95f02", "#607d8b"
STEPS = (0, 5, 20, 100)
"""Inner steps of which the embedding is shown."""


def main() -> None:
    """Draw all of them."""
    for name, figure in (("loops", loops()), ("local", local()), ("digits", digits())):
        figure.savefig(HERE / f"{name}.png", dpi=130)


def loops() -> Figure:
    """Meta-training: the inner loop within the outer one."""
    figure, axes = _canvas(6, 6.4)
    _box(axes, (0.2, 0.2), 5.6, 6.0, "", GREY, 0.07)
    axes.text(0.45, 5.82, "outer loop: meta-training", color=GREY, fontsize=14, weight="bold")
    _box(axes, (2.1, 4.75), 2.5, 0.75, "the rule θ", ORANGE, 0.2)
    _box(axes, (1.1, 2.3), 4.5, 1.8, "", TEAL, 0.08)
    title = "inner loop: the rule trains a network"
    axes.text(1.25, 3.73, title, color=TEAL, fontsize=12.5, weight="bold")
    for i, name in enumerate(("0", "1", "2", "U")):
        _box(axes, (1.3 + 1.12 * i, 2.9), 0.72, 0.6, rf"$\varphi_{name}$", TEAL, 0.25)
        if i:
            _arrow(axes, (0.92 + 1.12 * i, 3.2), (1.28 + 1.12 * i, 3.2), TEAL)
    axes.text(3.35, 2.48, "minibatches without labels", ha="center", fontsize=12)
    _arrow(axes, (3.35, 4.73), (3.35, 4.12), ORANGE)
    _box(axes, (1.5, 0.55), 3.7, 1.0, "a few labels:\nhow good is $\\varphi_U$?", GREY, 0.2)
    _arrow(axes, (5.0, 2.88), (4.75, 1.58), TEAL)
    _arrow(axes, (1.48, 1.05), (2.08, 5.1), ORANGE, "arc3,rad=-0.45")
    axes.text(0.68, 4.5, "gradient\nof θ", color=ORANGE, fontsize=12, ha="center", va="center")
    return figure


def local() -> Figure:
    """What the rule sees of a network: two units and the weight between them."""
    figure, axes = _canvas(6, 5.2)
    for x in (1.2, 3.0, 4.8):
        for y in (0.9, 1.8, 2.7):
            axes.plot(x, y, "o", ms=17, color="0.85", zorder=2)
    for x in (1.2, 3.0):
        for y in (0.9, 1.8, 2.7):
            for above in (0.9, 1.8, 2.7):
                axes.plot((x, x + 1.8), (y, above), color="0.85", lw=1, zorder=1)
    axes.plot((1.2, 3.0), (1.8, 2.7), color=ORANGE, lw=4, zorder=3)
    axes.plot(1.2, 1.8, "o", ms=22, color=TEAL, zorder=4)
    axes.plot(3.0, 2.7, "o", ms=22, color=TEAL, zorder=4)
    axes.text(1.2, 1.8, "i", color="w", ha="center", va="center", fontsize=14, zorder=5)
    axes.text(3.0, 2.7, "j", color="w", ha="center", va="center", fontsize=14, zorder=5)
    axes.text(1.95, 2.62, "$W_{ij}$", color=ORANGE, fontsize=16, ha="center")
    for x, name in ((1.2, "layer l − 1"), (3.0, "layer l"), (4.8, "layer l + 1")):
        axes.text(x, 0.3, name, ha="center", fontsize=12, color=GREY)
    _box(axes, (0.4, 3.7), 5.2, 1.2, "", ORANGE, 0.15)
    axes.text(
        3.0,
        4.3,
        "one small network θ, for every weight:\nactivities of i and j over a minibatch,\n"
        "what comes back from above  →  $\\Delta W_{ij}$",
        ha="center",
        va="center",
        fontsize=12.5,
    )
    _arrow(axes, (3.0, 2.95), (3.0, 3.68), TEAL)
    _arrow(axes, (1.2, 2.05), (1.2, 3.68), TEAL)
    _arrow(axes, (4.62, 2.75), (3.25, 2.75), GREY, "arc3,rad=0.35")
    axes.text(4.05, 3.13, "error signal d", ha="center", fontsize=12, color=GREY)
    return figure


def digits() -> Figure:
    """The rule `small` on handwritten digits: two components of the embedding."""
    x, y = load_digits(return_X_y=True)
    rows, rule = torch.tensor(x / 16).float(), load_rule("small")
    figure = Figure(figsize=(6.5, 6.8), layout="constrained")
    for steps, axes in zip(STEPS, figure.subplots(2, 2).flat, strict=True):
        u = apply_rule(rule, rows, inner_steps=steps).embeddings.numpy()
        classifier = LogisticRegression(max_iter=1000).fit(u[:100], y[:100])
        accuracy = classifier.score(u[100:], y[100:])
        points = PCA(2).fit_transform(u)
        axes.scatter(points[:, 0], points[:, 1], c=y, cmap="tab10", s=4)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{steps} inner steps: {accuracy:.0%}", fontsize=13)
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def _box(
    axes: Axes,
    corner: tuple[float, float],
    width: float,
    height: float,
    text: str,
    colour: str,
    fill: float,
) -> None:
    style = "round,pad=0,rounding_size=0.15"
    inside = FancyBboxPatch(corner, width, height, style, fc=colour, alpha=fill, ec="none")
    axes.add_patch(inside)
    axes.add_patch(FancyBboxPatch(corner, width, height, style, fc="none", ec=colour, lw=1.5))
    middle = corner[0] + width / 2, corner[1] + height / 2
    axes.text(*middle, text, ha="center", va="center", fontsize=14)


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    path: str = "arc3",
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            connectionstyle=path,
            arrowstyle="-|>",
            mutation_scale=16,
            lw=2,
            color=colour,
        )
    )


if __name__ == "__main__":
    main()
