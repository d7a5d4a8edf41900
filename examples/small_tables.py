"""Accuracy of a logistic regression on features of scikit-learn's small datasets: a table.

The features are fitted to half of the rows without their labels, the classifier to ten labelled
rows of each class of that half, or to all of it, and tested on the other half.

    python examples/small_tables.py
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from lit_lul import RuleTransformer

DATASETS = {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}
NETWORKS = 4
NETWORK_SETTINGS: tuple[tuple[Literal["minmax", "global"], int], ...] = (
    ("minmax", 0),
    ("minmax", 100),
    ("global", 100),
)
"""Scale and inner steps; without a step, networks are random."""
COMPONENTS = 32
LABELS_PER_CLASS = 10
LABEL_DRAWS = 10

Rows = NDArray[Any]


def main() -> None:
    """Measure everything and print one table per dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=1, help="halves of each dataset")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--rule", default="competitive", help="a shipped rule or a file of θ")
    options = parser.parse_args()
    for name in options.datasets:
        x, y = DATASETS[name](return_X_y=True)
        print(f"{name}: {len(x)} rows of {x.shape[1]} columns", flush=True)
        results: dict[str, list[list[float]]] = {}
        for split in range(options.splits):
            train, test, y_train, y_test = train_test_split(
                x, y, test_size=0.5, stratify=y, random_state=split
            )
            for method, seconds, u, v in features(options.rule, train, test, split):
                scores = measure(u, v, y_train, y_test)
                results.setdefault(method, []).append([seconds, *scores])
        for method, values in results.items():
            seconds, few, every = np.mean(values, axis=0)
            print(f"| {method} | {seconds:.1f} | {few:.1%} | {every:.1%} |", flush=True)


def features(
    rule: str, train: Rows, test: Rows, seed: int
) -> Iterator[tuple[str, float, list[Rows], list[Rows]]]:
    """Name, CPU seconds to fit, and features of both halves; of several networks, those of each."""
    for name, scaler in (("min-max", MinMaxScaler()), ("standardised", StandardScaler())):
        u, v = scaler.fit_transform(train), scaler.transform(test)
        yield f"columns, {name}", 0, [u], [v]
        start = time.process_time()
        pca = PCA(min(COMPONENTS, train.shape[1]), random_state=seed).fit(u)
        seconds = time.process_time() - start
        yield f"PCA of columns, {name}", seconds, [pca.transform(u)], [pca.transform(v)]
    for scale, inner_steps in NETWORK_SETTINGS:
        start = time.process_time()
        networks = RuleTransformer(
            rule, scale=scale, inner_steps=inner_steps, n_networks=NETWORKS, random_state=seed
        ).fit(train)
        seconds = time.process_time() - start
        for layers in ("embedding", "all"):
            name = f"{inner_steps} inner steps, scale {scale}, layers {layers}"
            networks.set_params(layers=layers)
            u, v = networks.transform(train), networks.transform(test)
            each_u, each_v = (np.split(rows, NETWORKS, axis=1) for rows in (u, v))
            yield f"{name}, 1 network", seconds / NETWORKS, each_u, each_v
            yield f"{name}, {NETWORKS} networks", seconds, [u], [v]


def measure(train: list[Rows], test: list[Rows], y_train: Rows, y_test: Rows) -> list[float]:
    """Mean accuracy with a few labels per class, and with all labels of the half."""
    few, every = [], []
    for u, v in zip(train, test, strict=True):
        classifier = LogisticRegression(max_iter=2000)
        every.append(classifier.fit(u, y_train).score(v, y_test))
        for draw in range(LABEL_DRAWS):
            rng = np.random.default_rng(draw)
            labelled = np.concatenate(
                [
                    rng.choice(np.flatnonzero(y_train == label), LABELS_PER_CLASS, replace=False)
                    for label in np.unique(y_train)
                ]
            )
            few.append(classifier.fit(u[labelled], y_train[labelled]).score(v, y_test))
    return [float(np.mean(few)), float(np.mean(every))]


if __name__ == "__main__":
    main()
