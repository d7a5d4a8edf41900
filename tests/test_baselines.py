"""Baselines against independent computations, on the draws that learners are rolled out on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression

from lit_lul.evaluation.baselines import (
    Case,
    measure_baselines,
    random_features,
    some_baselines,
)
from lit_lul.evaluation.features import FEATURES
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.networks import MLP, MLPs
from lit_lul.objectives import FewShotRidge

HELD_OUT = HeldOut(probes=["ridge", "logistic"], labels_per_class=4, tests_per_class=30, draws=3)
RIDGE = 0.1


def toy_data() -> HeldOutData:
    """Three overlapping classes of 40 inputs in [0, 255]."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(80, 170, (3, 40))
    labels = np.arange(600) % 3
    rows = np.clip(centres[labels] + rng.normal(0, 60, (600, 40)), 0, 255).astype(np.uint8)
    x = torch.from_numpy(rows)
    return HeldOutData(x[:300], x[300:], torch.from_numpy(labels[300:]), 1 / 255, None)


def ridge_accuracy(
    x: NDArray[np.float64], y: NDArray[np.int64], x_test: NDArray[np.float64], c: int
) -> NDArray[np.int64]:
    """Classes by ridge regression whose intercept is not penalised."""
    targets = np.eye(c)[y]
    mean, target_mean = x.mean(0), targets.mean(0)
    gram = (x - mean).T @ (x - mean) + RIDGE * np.eye(x.shape[1])
    coefficients = np.linalg.solve(gram, (x - mean).T @ (targets - target_mean))
    classes: NDArray[np.int64] = ((x_test - mean) @ coefficients + target_mean).argmax(1)
    return classes


def test_baselines_classify_the_draws_of_the_learners() -> None:
    data = toy_data()
    names = ("raw inputs", "PCA", "k-means")
    found = measure_baselines(FewShotRidge(), data, HELD_OUT, 6, some_baselines(names))
    unlabelled, x = ((t.float() * data.scale).numpy() for t in (data.unlabelled, data.x))
    labels = data.labels.numpy()
    for name in names:
        features = FEATURES[name](unlabelled, HELD_OUT.seed)
        for draw in range(HELD_OUT.draws):
            rng = np.random.default_rng([HELD_OUT.seed, draw])
            rng.permutation(data.x.shape[1])
            support, query = data.sample_rows(4, 30, rng)
            known, asked = (features(x[rows]) for rows in (support, query))
            by_ridge = ridge_accuracy(
                known.astype(np.float64), labels[support], asked.astype(np.float64), 3
            )
            by_logistic = LogisticRegression(max_iter=1000).fit(known, labels[support])
            expected = [
                (by_ridge == labels[query]).mean(),
                by_logistic.score(asked, labels[query]),
            ]
            assert found[name][:, draw].tolist() == pytest.approx(expected, abs=0.012)
    assert 0.4 < found["raw inputs"].mean() < 0.99


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    x = np.random.default_rng(1).random((80, 40), dtype=np.float32)
    x *= np.linspace(1, 3, 40, dtype=np.float32)
    _, _, directions = np.linalg.svd(x - x.mean(0), full_matrices=False)
    expected = (x - x.mean(0)) @ directions[:32].T
    features = FEATURES["PCA"](x, 0)(x)
    np.testing.assert_allclose(np.abs(features), np.abs(expected), atol=1e-4)


def test_centroids_are_activated_where_they_are_closer_than_the_mean() -> None:
    x = np.random.default_rng(2).random((300, 5), dtype=np.float32)
    centroids = MiniBatchKMeans(256, random_state=7, n_init=1).fit(x).cluster_centers_
    features = FEATURES["k-means"](x, 7)(x[:9])
    for row, feature in zip(x, features, strict=False):
        distances = [float(np.sqrt(((row - c) ** 2).sum())) for c in centroids]
        mean = sum(distances) / 256
        assert feature.tolist() == pytest.approx([max(0, mean - d) for d in distances], abs=1e-3)


def test_joined_features_are_both_on_one_scale() -> None:
    x = np.random.default_rng(5).normal(size=(90, 6)).astype(np.float32)
    joined = FEATURES["PCA and k-means"](x, 7)(x)
    pca, clusters = (FEATURES[name](x, 7)(x) for name in ("PCA", "k-means"))
    assert joined.shape[1] == pca.shape[1] + clusters.shape[1]
    for part, features in ((joined[:, :6], pca), (joined[:, 6:], clusters)):
        np.testing.assert_allclose(np.square(part).sum(1).mean(), 0.3**2, rtol=1e-4)
        centred = features - features.mean(0)
        np.testing.assert_allclose(part, centred * (part.std() / centred.std()), atol=1e-5)


def test_random_features_are_all_layers_of_a_network_of_each_draw() -> None:
    data, held_out = toy_data(), replace(HELD_OUT, networks=MLPs((2, 2), (8, 8)))
    case = Case(data, held_out, FewShotRidge(), embedding_units=6)
    support, query = random_features(case)
    assert torch.equal(random_features(case, top=True)[0], support[..., -6:])
    assert support.shape == (3, 12, 8 + 8 + 6)
    assert query.shape == (3, 90, 8 + 8 + 6)
    network = MLP((40, 8, 8, 6))
    for draw in range(3):
        rng = np.random.default_rng([held_out.seed, draw])
        permutation = rng.permutation(40)
        rows, _ = data.sample_rows(4, 30, rng)
        params = network.init(1, torch.Generator().manual_seed(int(rng.integers(2**62))))
        unlabelled, labelled = (
            x[:, permutation].float()[None] / 255 for x in (data.unlabelled, data.x[rows])
        )
        statistics = network.statistics(params, unlabelled)
        layers = network.activations(params, labelled, statistics).x[1:]
        torch.testing.assert_close(support[draw], torch.cat(layers, -1)[0], rtol=1e-4, atol=1e-5)
