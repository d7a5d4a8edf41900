"""Pictures of the synthetic prior."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from lit_lul.evaluation.held_out_data import HeldOutData

LARGEST = 64
"""Number of inputs whose correlations are shown, and of points per class."""


def draw_worlds(worlds: Sequence[HeldOutData]) -> Figure:
    """Correlations of inputs, and two principal components of rows by class, for each world."""
    figure = Figure(figsize=(2.2 * len(worlds), 4.6), layout="constrained")
    for (above, below), data in zip(
        figure.subplots(2, len(worlds), squeeze=False).T, worlds, strict=True
    ):
        rows = data.x.float().numpy() * data.scale
        with np.errstate(invalid="ignore", divide="ignore"):  # inputs may be constant
            correlation = np.nan_to_num(np.corrcoef(rows[:, :LARGEST].T))
        above.imshow(correlation, cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest")
        above.set_title(f"{rows.shape[1]} inputs\n{data.n_classes} classes", fontsize="small")
        points = PCA(2, random_state=0).fit_transform(rows)
        below.scatter(*points.T, c=data.labels.numpy(), cmap="tab20", s=2)
        for axes in (above, below):
            axes.set_xticks([])
            axes.set_yticks([])
    return figure


def draw_profiles(
    of_worlds: Sequence[tuple[float, float]], of_datasets: Mapping[str, tuple[float, float]]
) -> Figure:
    """Skill of k-means against that of raw inputs: worlds are grey, datasets are named."""
    figure = Figure(figsize=(6, 5.5), layout="constrained")
    axes = figure.add_subplot()
    axes.axline((0, 0), slope=1, color="0.8")
    axes.scatter(*zip(*of_worlds, strict=True), color="0.6", label="worlds")
    if of_datasets:
        axes.scatter(*zip(*of_datasets.values(), strict=True), color="C3", label="datasets")
    for name, point in of_datasets.items():
        axes.annotate(name, point, xytext=(4, 4), textcoords="offset points", fontsize="small")
    axes.set(
        xlabel="raw inputs, logistic: 0 chance, 1 no error",
        ylabel="k-means, logistic",
        xlim=(-0.05, 1.05),
        ylim=(-0.05, 1.05),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure
