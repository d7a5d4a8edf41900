"""Baselines: features without meta-learning.

Raw inputs, principal components, distances to centroids, and a random network.
"""

from collections.abc import Callable, Sequence

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
ZCA_FLOOR = 0.1
RANDOM_NETWORK = "random network (all layers)"
RANDOM_EMBEDDING = "random network (embedding)"
BASELINES = ("raw inputs", "PCA", "k-means", RANDOM_NETWORK)
"""Baselines of held-out results; nothing is whitened."""
MORE_BASELINES = (
    "raw inputs",
    "PCA",
    "whitened PCA",
    "k-means",
    "whitened k-means",
    RANDOM_EMBEDDING,
    RANDOM_NETWORK,
)
"""Baselines of the suite."""

Rows = NDArray[np.float32]


def size_of(name: str, embedding_units: int) -> int | None:
    """The number of features that a baseline is given, where it is a choice."""
    sizes = {"PCA": COMPONENTS, "k-means": CENTROIDS, "whitened PCA": COMPONENTS}
    sizes |= {"whitened k-means": CENTROIDS}
    return (sizes | dict.fromkeys((RANDOM_EMBEDDING, RANDOM_NETWORK), embedding_units)).get(name)


def measure_baselines(
    objective: Objective,
    data: HeldOutData,
    held_out: HeldOut,
    embedding_units: int,
    names: Sequence[str] = BASELINES,
) -> dict[str, Tensor]:
    """Few-shot accuracy of every baseline, on the same draws as learners.

    Features are fitted to all unlabelled rows and are not standardised. Inputs are not permuted;
    the fitted baselines do not depend on their order.

    Args:
        objective: determines the ridge, see `lit_lul.evaluation.probes.ridge_of`.
        data: unlabelled rows to fit to and labelled rows to probe with.
        held_out: the draws.
        embedding_units: E of the random network.
        names: some of `MORE_BASELINES`.

    Returns:
        (probes, draws) float64 by name.

    Raises:
        InvalidInput: when the data have too few labelled examples.
    """
    draws = Draws(data, held_out, range(held_out.draws), torch.empty(0))
    order = draws.permutation.argsort(-1).unsqueeze(1)
    sides = [draws.labelled.support_x[0], draws.labelled.query_x[0]]
    support, query = (x.gather(-1, order.expand(x.shape)).numpy() for x in sides)
    unlabelled = (data.unlabelled.float() * data.scale).numpy()
    accuracy = {}
    for name in names:
        if name in (RANDOM_NETWORK, RANDOM_EMBEDDING):
            support_u, query_u = random_features(draws, held_out, embedding_units)
            if name == RANDOM_EMBEDDING:
                support_u, query_u = (u[..., -embedding_units:] for u in (support_u, query_u))
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

    PCA gives 32 centred components, whitened ones have variance 1. k-means gives for each of 256
    centroids how much closer it is than the mean distance, or 0 (the triangle activation of Coates
    & Ng 2012); the whitened one clusters the rows after ZCA whitening, as they do. Few inputs have
    fewer components, and few rows have fewer centroids: as many as there are rows.

    Args:
        name: one of `MORE_BASELINES`, apart from the random networks.
        unlabelled: the rows.
        seed: determines the centroids.

    Returns:
        A function from rows (K, N_0) to features (K, E).
    """
    if name in ("PCA", "whitened PCA"):
        size = min(COMPONENTS, *unlabelled.shape)
        whiten = name == "whitened PCA"
        components = PCA(size, whiten=whiten, random_state=seed).fit(unlabelled)
        # scikit-learn has no types
        return components.transform  # type: ignore[no-any-return]
    if name == "k-means":
        size = min(CENTROIDS, len(unlabelled))
        centroids = MiniBatchKMeans(size, random_state=seed, n_init=1).fit(unlabelled)
        return lambda rows: triangle(centroids.transform(rows))
    if name == "whitened k-means":
        whitened = zca(unlabelled)
        clusters = fit_features("k-means", whitened(unlabelled), seed)
        return lambda rows: clusters(whitened(rows))
    return lambda rows: rows


def zca(unlabelled: Rows) -> Callable[[Rows], Rows]:
    """ZCA whitening fitted to rows (n, N_0): a function from rows (K, N_0) to whitened ones.

    A tenth of the mean variance of an input is added to every variance, which leaves out noise
    (Coates & Ng 2012 add 0.1 to variances after contrast normalisation).
    """
    mean = unlabelled.mean(0)
    covariance = np.cov((unlabelled - mean).T)
    variance, directions = np.linalg.eigh(np.atleast_2d(covariance))
    floor = ZCA_FLOOR * variance.mean()
    matrix = (directions / np.sqrt(variance.clip(0) + floor)) @ directions.T
    return lambda rows: ((rows - mean) @ matrix).astype(np.float32)


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
