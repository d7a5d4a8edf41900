"""Classifiers that use unlabelled rows together with the labels, on raw inputs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from torch import Tensor

from lit_lul.evaluation.baselines import Baseline, Case
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


def classify(make: Callable[[Any, Any], Any], case: Case) -> Tensor:
    """Accuracy (probes, T) of classifiers of labelled and statistics rows, one for each draw.

    Args:
        make: makes the classifier from the labelled rows and their labels.
        case: the data; accuracy is the same for all probes.
    """
    draws = case.draws()
    scores = []
    for support, unlabelled, query, known, asked in zip(
        draws.labelled.support_x[0],
        draws.statistics_rows(),
        draws.labelled.query_x[0],
        draws.support_labels,
        draws.query_labels,
        strict=True,
    ):
        classifier = make(support.numpy(), known.numpy())
        labels = torch.cat([known, known.new_full((len(unlabelled),), UNKNOWN)])
        classifier.fit(torch.cat([support, unlabelled]).numpy(), labels.numpy())
        guess = torch.as_tensor(classifier.predict(query.numpy()))
        scores.append((guess == asked).double().mean())
    return torch.stack(scores).expand(len(case.held_out.probes), -1)


WITH_LABELS: dict[str, Baseline] = {
    "label spreading": Baseline(partial(classify, label_spreading)),
    "self-training": Baseline(partial(classify, self_training)),
}
"""Classifiers that get each draw's labels together with unlabelled rows."""
