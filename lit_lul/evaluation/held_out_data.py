"""Held-out datasets: unlabelled rows to learn from and labelled rows to probe with."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.data.text import WordBags
from lit_lul.errors import InvalidInput

DIGITS_UNLABELLED = 0.5
DIGITS_SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class HeldOutData:
    """One held-out dataset.

    Attributes:
        unlabelled: rows to learn from, (n, N_0).
        x: labelled rows to probe with, disjoint from `unlabelled`, (m, N_0).
        labels: their classes, int64, (m,), from 0.
        scale: factor that scales rows to [0, 1].
        image_shape: channels, height and width of a row; None if it is not an image.
    """

    unlabelled: Tensor
    x: Tensor
    labels: Tensor
    scale: float
    image_shape: tuple[int, int, int] | None

    @property
    def n_classes(self) -> int:
        """C."""
        return int(self.labels.max()) + 1

    def sample_rows(
        self, labels_per_class: int, tests_per_class: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw labelled rows: support (C × labels,) and query (C × tests,), class by class.

        If a class has too few rows for the tests, all classes get as many as it can give.

        Raises:
            InvalidInput: when a class has no row left to test on.
        """
        members = [np.flatnonzero(self.labels.numpy() == c) for c in range(self.n_classes)]
        fewest = min(len(m) for m in members)
        if not 1 <= labels_per_class < fewest:
            raise InvalidInput(
                f"labels_per_class {labels_per_class}: expected 1 to {fewest - 1}, "
                f"because the smallest class has {fewest} examples"
            )
        taken = min(fewest, labels_per_class + tests_per_class)
        rows = np.stack([rng.permutation(m)[:taken] for m in members])
        return rows[:, :labels_per_class].ravel(), rows[:, labels_per_class:].ravel()


def digits() -> HeldOutData:
    """The 1,797 handwritten digits, 8 × 8, that scikit-learn ships; half of them unlabelled."""
    bunch = load_digits()
    order = np.random.default_rng(DIGITS_SPLIT_SEED).permutation(len(bunch.target))
    x = torch.from_numpy(bunch.data[order]).to(torch.uint8)
    labels = torch.from_numpy(bunch.target[order]).long()
    split = round(DIGITS_UNLABELLED * len(x))
    return HeldOutData(x[:split], x[split:], labels[split:], 1 / 16, (1, 8, 8))


def from_images(training: ImageSet, test: ImageSet) -> HeldOutData:
    """Unlabelled images of the training split, labelled ones of the test split.

    Raises:
        InvalidInput: when the splits have different classes.
    """
    if training.class_names != test.class_names:
        raise InvalidInput(
            f"held-out test split: expected the {training.n_classes} classes of the training "
            f"split, found {test.n_classes} classes, {', '.join(test.class_names[:3])}, ..."
        )
    labels = torch.repeat_interleave(torch.arange(test.n_classes), test.class_sizes)
    shape = (test.channels, test.side, test.side)
    return HeldOutData(training.images.flatten(1), test.images.flatten(1), labels, 1 / 255, shape)


def from_texts(training: WordBags, test: WordBags) -> HeldOutData:
    """Unlabelled texts of the training split, labelled ones of the test split."""
    _, labels = test.labels.unique(return_inverse=True)
    return HeldOutData(training.x, test.x, labels, 1.0, None)
