"""Datasets that meta-training never sees."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.meta_objective import Labelled

UNLABELLED_SHARE = 0.5
SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class HeldOutData:
    """One dataset: images for the rule to learn from, and others to probe with."""

    unlabelled: Tensor
    """(n, N_0) in [0, 1]."""
    x: Tensor
    """Labelled examples, none of them unlabelled ones: (m, N_0) in [0, 1]."""
    labels: Tensor
    """Their classes, (m,) int64, from 0."""

    @property
    def n_classes(self) -> int:
        """C."""
        return int(self.labels.max()) + 1

    def sample_labelled(
        self, labels_per_class: int, draws: int, rng: np.random.Generator
    ) -> Labelled:
        """For each of T = `draws` tasks: so many labels per class, and all other examples but those
        by which the larger classes exceed the smallest.

        Raises:
            InvalidInput: when a class has no example left to test on.
        """
        counts = np.bincount(self.labels.numpy())
        per_class = int(counts.min())
        if labels_per_class < 1 or per_class <= labels_per_class:
            raise InvalidInput(
                f"labels_per_class {labels_per_class}: expected 1 to {per_class - 1}, "
                f"the smallest class has {per_class} examples"
            )
        members = [np.flatnonzero(self.labels.numpy() == c) for c in range(self.n_classes)]
        rows = np.stack(
            [[rng.permutation(m)[:per_class] for m in members] for _ in range(draws)]
        )  # (draws, C, per_class)
        one_hot = torch.eye(self.n_classes)
        support, query = (
            torch.from_numpy(part.reshape(1, draws, -1))
            for part in (rows[..., :labels_per_class], rows[..., labels_per_class:])
        )
        columns = torch.ones(draws, self.n_classes, dtype=torch.bool)
        return Labelled(
            self.x[support],
            one_hot[self.labels[support]],
            self.x[query],
            one_hot[self.labels[query]],
            is_class=columns,
            is_target=columns,
        )


def digits() -> HeldOutData:
    """The 1,797 handwritten digits, 8 × 8, that scikit-learn ships; half of them unlabelled."""
    bunch = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(bunch.target))
    x = torch.from_numpy(bunch.data[order] / 16).float()
    labels = torch.from_numpy(bunch.target[order]).long()
    split = round(UNLABELLED_SHARE * len(x))
    return HeldOutData(x[:split], x[split:], labels[split:])
