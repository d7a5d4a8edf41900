"""Features that no rule has a part in: raw inputs, principal components, distances to centroids."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from torch import Tensor

from lit_lul.evaluation.curve import Draws, probe
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.objectives.few_shot_ridge import MetaObjective

COMPONENTS = 32
CENTROIDS = 256
BASELINES = ("raw inputs", "PCA", "k-means")

Rows = NDArray[np.float32]


def measure_baselines(
    objective: MetaObjective, data: HeldOutData, held_out: HeldOut
) -> dict[str, Tensor]:
    """Few-shot accuracy of every baseline on the draws that rules are rolled out on.

    Features are fitted to all unlabelled rows and used as they come, neither whitened nor
    standardised. Inputs are in their own order: none of the baselines depends on it.

    Returns:
        (probes, draws) float64 by the names in `BASELINES`.

    Raises:
        InvalidInput: when the data have too few examples for the labels asked for.
    """
    draws = Draws(data, held_out, range(held_out.draws), torch.device("cpu"))
    order = draws.permutation.argsort(-1).unsqueeze(1)
    support, query = (
        x[0].gather(-1, order.expand(x[0].shape)).numpy()
        for x in (draws.labelled.support_x, draws.labelled.query_x)
    )
    unlabelled = (data.unlabelled.float() * data.scale).numpy()
    accuracy = {}
    for name in BASELINES:
        features = fit_features(name, unlabelled, held_out.seed)
        support_u, query_u = (
            torch.from_numpy(np.stack([features(rows) for rows in x]).astype(np.float32))
            for x in (support, query)
        )
        accuracy[name] = probe(held_out.probes, objective, draws, support_u, query_u)
    return accuracy


def fit_features(name: str, unlabelled: Rows, seed: int) -> Callable[[Rows], Rows]:
    """Fit a baseline to unlabelled rows (n, N_0).

    Principal components are 32, centred. Of 256 centroids, the features of a row are how much
    closer than the mean distance each one is, or 0 (the triangle activation of Coates & Ng 2012).

    Args:
        name: one of `BASELINES`.
        unlabelled: at least as many rows as there are centroids or components.
        seed: determines the centroids.

    Returns:
        What maps rows (K, N_0) to features (K, E).
    """
    if name == "PCA":
        components = PCA(COMPONENTS, random_state=seed).fit(unlabelled)
        # scikit-learn has no types
        return components.transform  # type: ignore[no-any-return]
    if name == "k-means":
        centroids = MiniBatchKMeans(CENTROIDS, random_state=seed, n_init=1).fit(unlabelled)
        return lambda rows: triangle(centroids.transform(rows))
    return lambda rows: rows


def triangle(distances: Rows) -> Rows:
    """max(0, mean over centroids − distance), of Euclidean distances (K, centroids)."""
    closer: Rows = np.maximum(0, distances.mean(axis=1, keepdims=True) - distances)
    return closer
