"""Held-out datasets: unlabelled rows to learn from and labelled rows to probe with."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.data.text import WordBags
from lit_lul.errors import InvalidInput

UnlabelledClasses = Literal["all", "same", "others"]
CLASSES_SEED = 0


@dataclass(frozen=True, eq=False)
class HeldOutData:
    """One held-out dataset.

    Attributes:
        unlabelled: rows to learn from, (n, N_0).
        x: labelled rows to probe with, disjoint from `unlabelled`, (m, N_0).
        labels: their classes, int64, (m,), from 0.
        scale: factor that scales rows to [0, 1].
        image_shape: channels, height and width of a row; None if it is not an image.
        unlabelled_classes: classes of the unlabelled rows, int64, (n,); only to leave some out.
    """

    unlabelled: Tensor
    x: Tensor
    labels: Tensor
    scale: float
    image_shape: tuple[int, int, int] | None
    unlabelled_classes: Tensor | None = None

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


def from_images(training: ImageSet, test: ImageSet) -> HeldOutData:
    """Unlabelled images of the training split, labelled images of the test split.

    Raises:
        InvalidInput: when the splits have different classes.
    """
    if training.class_names != test.class_names:
        raise InvalidInput(
            f"held-out test split: expected the {training.n_classes} classes of the training "
            f"split, found {test.n_classes} classes, {', '.join(test.class_names[:3])}, ..."
        )
    classes, labels = (
        torch.repeat_interleave(torch.arange(s.n_classes), s.class_sizes) for s in (training, test)
    )
    return HeldOutData(
        training.images.flatten(1),
        test.images.flatten(1),
        labels,
        1 / 255,
        (test.channels, test.side, test.side),
        classes,
    )


def from_texts(training: WordBags, test: WordBags) -> HeldOutData:
    """Unlabelled texts of the training split, labelled texts of the test split."""
    names, labels = test.labels.unique(return_inverse=True)
    classes = torch.searchsorted(names, training.labels)
    return HeldOutData(training.x, test.x, labels, 1.0, None, classes)


def choose_classes(
    data: HeldOutData, count: int | None, unlabelled: UnlabelledClasses
) -> HeldOutData:
    """Keep the labelled rows of some classes, and unlabelled rows of these, of others or of all.

    Classes are chosen at random, by a seed that is always the same.

    Args:
        data: the whole dataset.
        count: number of classes to keep labelled rows of, None for all.
        unlabelled: classes to keep unlabelled rows of.

    Raises:
        InvalidInput: when there are not so many classes, or no unlabelled row is left.
    """
    count = data.n_classes if count is None else count
    if not 2 <= count <= data.n_classes:
        raise InvalidInput(f"held-out classes {count}: expected 2 to {data.n_classes}")
    order = np.random.default_rng(CLASSES_SEED).permutation(data.n_classes)
    number = torch.full((data.n_classes,), -1)
    number[torch.from_numpy(order[:count])] = torch.arange(count)
    labels = number[data.labels]
    kept = torch.ones(len(data.unlabelled), dtype=torch.bool)
    if unlabelled != "all":
        if data.unlabelled_classes is None:
            raise InvalidInput(f"held-out unlabelled_classes {unlabelled}: they are not known")
        kept = (number[data.unlabelled_classes] >= 0) == (unlabelled == "same")
    if not kept.any():
        raise InvalidInput(f"held-out unlabelled_classes {unlabelled}: no row is left")
    return replace(
        data,
        unlabelled=data.unlabelled[kept],
        x=data.x[labels >= 0],
        labels=labels[labels >= 0],
        unlabelled_classes=None,
    )
