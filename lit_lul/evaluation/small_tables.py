"""Held-out datasets that scikit-learn ships or makes; half of the rows are unlabelled."""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_blobs, make_moons

from lit_lul.evaluation.held_out_data import HeldOutData

SPLIT_SEED = 0


def digits() -> HeldOutData:
    """1,797 handwritten digits, 8 × 8."""
    bunch = load_digits()
    half, x, labels = _shuffled(bunch.data.astype(np.uint8), bunch.target)
    return HeldOutData(x[:half], x[half:], labels[half:], 1 / 16, (1, 8, 8), labels[:half])


def wine() -> HeldOutData:
    """178 wines of three cultivars, 13 chemical properties."""
    return _table(*load_wine(return_X_y=True))


def breast_cancer() -> HeldOutData:
    """569 tumours, benign or malignant, 30 properties of cell nuclei."""
    return _table(*load_breast_cancer(return_X_y=True))


def moons(noise: float = 0.15) -> HeldOutData:
    """2,000 points in two interleaved half circles, two inputs."""
    return _table(*make_moons(2000, noise=noise, random_state=0))


def blobs() -> HeldOutData:
    """2,000 points of ten normal distributions, 20 inputs."""
    x, labels = make_blobs(2000, 20, centers=10, cluster_std=7.0, random_state=0)
    return _table(x, labels)


def _shuffled(x: np.ndarray, labels: np.ndarray) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Half the number of rows, rows and labels in random order."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    return round(len(x) / 2), torch.from_numpy(x[order]), torch.from_numpy(labels[order]).long()


def _table(values: np.ndarray, classes: np.ndarray) -> HeldOutData:
    """Columns scaled to [0, 1] by the unlabelled half; labelled values outside are clipped."""
    half, x, labels = _shuffled(values.astype(np.float32), classes)
    low, high = x[:half].amin(0), x[:half].amax(0)
    x = ((x - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return HeldOutData(x[:half], x[half:], labels[half:], 1.0, None, labels[:half])
