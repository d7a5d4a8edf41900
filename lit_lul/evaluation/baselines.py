"""Baselines: features without meta-learning.

Raw inputs, principal components, distances to centroids, and all layers of a random network.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from torch import Tensor

from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.probes import probe, ridge_of
from lit_lul.objectives.objective import Objective

COMPONENTS = 32
CENTROIDS = 256
RANDOM_NETWORK = "random network (all layers)"
BASELINES = ("raw inputs", "PCA", "k-means", RANDOM_NETWORK)

Rows = NDArray[np.float32]


def measure_baselines(
    objective: Objective, data: HeldOutData, held_out: HeldOut, embedding_units: int
) -> dict[str, Tensor]:
    """Few-shot accuracy of every baseline, on the same draws as learners.

    Features are fitted to all unlabelled rows and are neither whitened nor standardised. Inputs are
    not permuted; the fitted baselines do not depend on their order.

    Args:
        objective: determines the ridge, see `lit_lul.evaluation.probes.ridge_of`.
        data: unlabelled rows to fit to and labelled rows to probe with.
        held_out: the draws.
        embedding_units: E of the random network.

    Returns:
        (probes, draws) float64 by the names in `BASELINES`.

    Raises:
        InvalidInput: when the data have too few labelled examples.
    """
    draws = Draws(data, held_out, range(held_out.draws), torch.empty(0))
    order = draws.permutation.argsort(-1).unsqueeze(1)
    sides = [draws.labelled.support_x[0], draws.labelled.query_x[0]]
    support, query = (x.gather(-1, order.expand(x.shape)).numpy() for x in sides)
    unlabelled = (data.unlabelled.float() * data.scale).numpy()
    accuracy = {}
    for name in BASELINES:
        if name == RANDOM_NETWORK:
            support_u, query_u = random_features(draws, held_out, embedding_units)
        else:
            features = fit_features(name, unlabelled, held_out.seed)
            support_u, query_u = (
                torch.from_numpy(np.stack([features(rows) for rows in x]).astype(np.float32))
                for x in (support, query)
            )
        accuracy[name] = probe(held_out.probes, ridge_of(objective), draws, support_u, query_u)
    return accuracy


def fit_features(name: str, unlabelled: Rows, seed: int) -> Callable[[Rows], Rows]:
    """Fit a baseline to unlabelled rows (n, N_0).

    PCA gives 32 centred components. k-means gives for each of 256 centroids how much closer it is
    than the mean distance, or 0 (the triangle activation of Coates & Ng 2012).

    Args:
        name: one of `BASELINES`, apart from the random network.
        unlabelled: rows, at least as many as components or centroids.
        seed: determines the centroids.

    Returns:
        A function from rows (K, N_0) to features (K, E).
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


def random_features(draws: Draws, held_out: HeldOut, embedding_units: int) -> tuple[Tensor, Tensor]:
    """Activations of all layers above the inputs, of a new network for every draw.

    Batch statistics are those of unlabelled rows, for both protocols.

    Returns:
        Support (T, K, units of all layers) and query (T, K', units of all layers).
    """
    inputs = draws.labelled.support_x.shape[-1]
    network = held_out.networks.at(0.5, inputs, embedding_units)
    params = draws.random_networks(network)
    statistics = network.statistics(params, draws.statistics_rows())
    support_u, query_u = (
        torch.cat(network.activations(params, x, statistics).x[1:], dim=-1)[0]
        for x in (draws.labelled.support_x, draws.labelled.query_x)
    )
    return support_u, query_u
