"""Classifiers that use unlabelled rows together with the labels, on raw inputs."""

from collections.abc import Callable
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from torch import Tensor

from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.probes import CHOICES_OF_C, LOGISTIC_ITERATIONS, TOLERANCE

NEIGHBOURS = 7
CONFIDENCE = 0.9
UNKNOWN = -1


def label_spreading(support: Any, labels: Any) -> Any:
    """Labels spread along a graph of the 7 nearest neighbours (Zhou et al. 2004)."""
    return LabelSpreading(kernel="knn", n_neighbors=NEIGHBOURS)


def self_training(support: Any, labels: Any) -> Any:
    """A logistic regression that takes over its own predictions of which it is 90% sure.

    Its penalty is chosen by cross-validation on the labels.
    """
    regression = LogisticRegression(max_iter=LOGISTIC_ITERATIONS, tol=TOLERANCE)
    search = GridSearchCV(regression, {"C": CHOICES_OF_C}, cv=3).fit(support, labels)
    return SelfTrainingClassifier(search.best_estimator_, threshold=CONFIDENCE)


WITH_LABELS: dict[str, Callable[[Any, Any], Any]] = {
    "label spreading": label_spreading,
    "self-training": self_training,
}
"""Makers of classifiers, which get the labelled rows of a draw."""


def classify_with_unlabelled(name: str, draws: Draws) -> Tensor:
    """Accuracy (T,) of a classifier fitted to each draw's labelled and statistics rows.

    Args:
        name: one of `WITH_LABELS`.
        draws: on the CPU.
    """
    scores = []
    for support, unlabelled, query, known, asked in zip(
        draws.labelled.support_x[0],
        draws.statistics_rows(),
        draws.labelled.query_x[0],
        draws.support_labels,
        draws.query_labels,
        strict=True,
    ):
        classifier = WITH_LABELS[name](support.numpy(), known.numpy())
        labels = torch.cat([known, known.new_full((len(unlabelled),), UNKNOWN)])
        classifier.fit(torch.cat([support, unlabelled]).numpy(), labels.numpy())
        guess = torch.as_tensor(classifier.predict(query.numpy()))
        scores.append((guess == asked).double().mean())
    return torch.stack(scores)
