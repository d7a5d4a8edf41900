"""Features fitted to unlabelled rows, without gradients: projections, clusters, Hebbian learning.

Rows are (n, N_0) in [0, 1]. Features are not standardised.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA, FastICA, MiniBatchDictionaryLearning, MiniBatchNMF
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.exceptions import ConvergenceWarning

COMPONENTS, MORE_COMPONENTS = 32, 128
CENTROIDS = 256
JOINED_NORM = 0.3
"""Root mean square norm of each part of joined features, chosen on the suite's development half."""
TREES, DEPTH = 100, 5
ZCA_FLOOR = 0.1
DICTIONARY_ROWS = 2000
HEBBIAN_STEPS, HEBBIAN_BATCH, HEBBIAN_RATE = 3000, 128, 0.05
INVERSE_TEMPERATURE = 10.0
"""Inverse temperature of the competition between units in `soft_hebb`; not tuned."""

Rows = NDArray[np.float32]
Features = Callable[[Rows], Rows]
"""From rows (K, N_0) to features (K, E)."""


def raw(unlabelled: Rows, seed: int) -> Features:
    """The rows themselves."""
    return lambda rows: rows


def pca(unlabelled: Rows, seed: int) -> Features:
    """32 centred principal components, or as many as there are."""
    return _of(PCA(min(COMPONENTS, *unlabelled.shape), random_state=seed), unlabelled)


def whitened_pca(unlabelled: Rows, seed: int, size: int = COMPONENTS) -> Features:
    """Principal components scaled to variance 1."""
    return _of(PCA(min(size, *unlabelled.shape), whiten=True, random_state=seed), unlabelled)


def wide_whitened_pca(unlabelled: Rows, seed: int) -> Features:
    """128 components of variance 1."""
    return whitened_pca(unlabelled, seed, MORE_COMPONENTS)


def k_means(unlabelled: Rows, seed: int) -> Features:
    """How much closer each of 256 centroids is than the mean distance, or 0.

    That is the triangle activation of Coates & Ng 2012. Few rows have fewer centroids.
    """
    size = min(CENTROIDS, len(unlabelled))
    centroids = MiniBatchKMeans(size, random_state=seed, n_init=1).fit(unlabelled)
    return lambda rows: triangle(centroids.transform(rows))


def whitened_k_means(unlabelled: Rows, seed: int) -> Features:
    """`k_means` of rows after ZCA whitening, as Coates & Ng do."""
    whitened = zca(unlabelled)
    clusters = k_means(whitened(unlabelled), seed)
    return lambda rows: clusters(whitened(rows))


def pca_and_k_means(unlabelled: Rows, seed: int) -> Features:
    """`pca` and `k_means` joined, each scaled to the same small norm.

    The strongest of simple baselines: few features with most of the variance, and many local ones,
    on a scale that suits a regression with a penalty of 0.1.
    """
    parts = []
    for part in (pca(unlabelled, seed), k_means(unlabelled, seed)):
        fitted = part(unlabelled)
        mean = fitted.mean(0)
        norm = np.sqrt(np.square(fitted - mean).sum(1).mean())
        parts.append((part, mean, JOINED_NORM / max(norm, 1e-6)))

    def joined(rows: Rows) -> Rows:
        scaled = [scale * (part(rows) - mean) for part, mean, scale in parts]
        return np.concatenate(scaled, axis=1).astype(np.float32)

    return joined


def ica(unlabelled: Rows, seed: int) -> Features:
    """32 independent components."""
    size = min(COMPONENTS, *unlabelled.shape)
    return _of(FastICA(size, whiten="unit-variance", random_state=seed), unlabelled)


def nmf(unlabelled: Rows, seed: int) -> Features:
    """Shares of 32 non-negative parts."""
    size = min(COMPONENTS, *unlabelled.shape)
    return _of(MiniBatchNMF(size, random_state=seed), unlabelled)


def dictionary(unlabelled: Rows, seed: int) -> Features:
    """Sparse codes in a dictionary of 128 atoms, by orthogonal matching pursuit.

    The dictionary is learned from 2,000 of the rows, because that is slow.
    """
    if len(unlabelled) > DICTIONARY_ROWS:
        rng = np.random.default_rng(seed)
        unlabelled = rng.choice(unlabelled, DICTIONARY_ROWS, replace=False)
    learner = MiniBatchDictionaryLearning(
        MORE_COMPONENTS, batch_size=HEBBIAN_BATCH, max_iter=10, random_state=seed
    )
    return _of(learner, unlabelled)


def random_trees(unlabelled: Rows, seed: int) -> Features:
    """The leaf of each of 100 random trees of depth 5 that a row falls in, one-hot."""
    trees = RandomTreesEmbedding(TREES, max_depth=DEPTH, random_state=seed).fit(unlabelled)
    return lambda rows: trees.transform(rows).toarray().astype(np.float32)


def soft_hebb(unlabelled: Rows, seed: int) -> Features:
    """Activations of 256 units that learn by SoftHebb (Moraitis et al. 2022).

    A hand-designed plasticity: units compete by a softmax, and each moves towards the row by its
    share, less its own activation times its weights. Rows are centred and scaled to length 1;
    features are `triangle` activations.
    """
    rng = np.random.default_rng(seed)
    mean = unlabelled.mean(0)

    def scaled(rows: Rows) -> Rows:
        centred = rows - mean
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        unit: Rows = (centred / length.clip(1e-6)).astype(np.float32)
        return unit

    weights = rng.normal(size=(unlabelled.shape[1], CENTROIDS)).astype(np.float32)
    weights /= np.linalg.norm(weights, axis=0)
    for step in range(HEBBIAN_STEPS):
        x = scaled(unlabelled[rng.integers(len(unlabelled), size=HEBBIAN_BATCH)])
        potential = x @ weights
        share = softmax(INVERSE_TEMPERATURE * potential, axis=1)
        change = x.T @ share - weights * (share * potential).sum(0)
        weights += HEBBIAN_RATE * (1 - step / HEBBIAN_STEPS) * change
    return lambda rows: triangle(-(scaled(rows) @ weights))


FEATURES: dict[str, Callable[[Rows, int], Features]] = {
    "raw inputs": raw,
    "PCA": pca,
    "whitened PCA": whitened_pca,
    "whitened PCA (128)": wide_whitened_pca,
    "k-means": k_means,
    "whitened k-means": whitened_k_means,
    "PCA and k-means": pca_and_k_means,
    "ICA": ica,
    "NMF": nmf,
    "dictionary": dictionary,
    "random trees": random_trees,
    "SoftHebb": soft_hebb,
}
"""Functions of unlabelled rows and a seed."""
SIZES = {
    "PCA": COMPONENTS,
    "whitened PCA": COMPONENTS,
    "whitened PCA (128)": MORE_COMPONENTS,
    "k-means": CENTROIDS,
    "whitened k-means": CENTROIDS,
    "PCA and k-means": COMPONENTS + CENTROIDS,
    "ICA": COMPONENTS,
    "NMF": COMPONENTS,
    "dictionary": MORE_COMPONENTS,
    "random trees": TREES,
    "SoftHebb": CENTROIDS,
}
"""Sizes that were chosen, by name."""


def zca(unlabelled: Rows) -> Features:
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


def _of(transformer: Any, unlabelled: Rows) -> Features:
    """The features of a scikit-learn transformer, fitted without warnings of slow convergence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = transformer.fit(unlabelled)
    return fitted.transform  # type: ignore[no-any-return]  # scikit-learn has no types
