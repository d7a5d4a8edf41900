"""Figures of held-out evaluations."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from lit_lul.evaluation.curve import Curve

GRID = 8


def draw_curves(title: str, untrained: Curve, by_outer_step: Mapping[int, Curve]) -> Figure:
    """A figure of accuracy against inner steps, a line per outer step and initial θ.

    Bands are ± one standard error.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    last = max(1, *by_outer_step)
    for outer_step, curve in sorted(by_outer_step.items()):
        draw_line(axes, curve, colormaps["viridis"](outer_step / last), "-")
    draw_line(axes, untrained, "0.4", "--", "initial θ")
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


def draw_receptive_fields(weights: Tensor, image_shape: tuple[int, int, int]) -> Figure:
    """A figure of the incoming weights of the first 64 units as images, each scaled separately.

    Args:
        weights: (N_0, N_1), inputs in the order of an image's pixels.
        image_shape: channels, height and width.
    """
    mosaic = tile_receptive_fields(weights, image_shape, GRID)
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.axis("off")
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    figure.suptitle("first-layer receptive fields")
    return figure


def tile_receptive_fields(
    weights: Tensor, image_shape: tuple[int, int, int], grid: int
) -> NDArray[np.float32]:
    """Incoming weights of the first grid² units as one image, each scaled to 0 to 1 separately.

    Args:
        weights: (N_0, N_1), inputs in the order of an image's pixels.
        image_shape: channels, height and width.
        grid: units in a row of the image.
    """
    channels, height, width = image_shape
    fields = weights.T[: grid**2].reshape(-1, *image_shape)
    low, high = fields.amin((1, 2, 3), keepdim=True), fields.amax((1, 2, 3), keepdim=True)
    tiles = torch.ones(grid**2, channels, height + 1, width + 1)  # one image: axes are slow
    tiles[: len(fields), :, :height, :width] = (fields - low) / (high - low).clamp(min=1e-12)
    rows = tiles.unflatten(0, (grid, grid)).permute(0, 3, 1, 4, 2)
    mosaic: NDArray[np.float32] = (
        rows.reshape(grid * (height + 1), grid * (width + 1), channels).squeeze(-1).numpy()
    )
    return mosaic


def draw_embedding(embedding: Tensor, labels: Tensor) -> Figure:
    """A figure of the embedding (K, E): two principal components, coloured by class (K,)."""
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.add_subplot()
    pca = PCA(n_components=2).fit(embedding.numpy())
    points = pca.transform(embedding.numpy())
    axes.scatter(points[:, 0], points[:, 1], c=labels.numpy(), cmap="tab10", s=8)
    shares = np.round(100 * pca.explained_variance_ratio_).astype(int)
    axes.set(
        title="embedding of held-out examples",
        xlabel=f"first principal component ({shares[0]}%)",
        ylabel=f"second ({shares[1]}%)",
    )
    return figure


def draw_line(axes: Axes, curve: Curve, colour: ColorType, style: str, label: str = "") -> None:
    """Draw a curve with a band of ± one standard error."""
    axes.plot(curve.steps, curve.mean, style, color=colour, label=label)
    low, high = (
        [m + sign * e for m, e in zip(curve.mean, curve.standard_error, strict=True)]
        for sign in (-1, 1)
    )
    axes.fill_between(curve.steps, low, high, color=colour, alpha=0.2, linewidth=0)
