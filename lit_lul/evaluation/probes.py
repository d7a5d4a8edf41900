"""Probes: few-shot classifiers on features of labelled examples.

Shapes: T draws, K labelled examples in the support, K' in the query, E features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from torch import Tensor

from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import Probe
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective
from lit_lul.trees import map_tensors

LOGISTIC_ITERATIONS = 1000
CHOICES_OF_C = (1.0, 10.0, 100.0, 1000.0)
"""Inverse penalties that cross-validation chooses from, for features of mean square norm 1."""
FOLDS = 3
TOLERANCE = 1e-3
"""Tolerance of the cross-validated regression, which solves many problems."""


def ridge_of(objective: Objective) -> FewShotRidge:
    """The ridge probe: the objective if it is a `FewShotRidge`, else one with default settings."""
    return objective if isinstance(objective, FewShotRidge) else FewShotRidge()


def probe(
    names: Sequence[Probe],
    ridge: FewShotRidge,
    draws: Draws,
    support_u: Tensor,
    query_u: Tensor,
) -> Tensor:
    """Few-shot accuracy of features of every draw's labelled examples.

    If features are not finite, all examples are predicted to be of the first class.

    Args:
        names: the classifiers.
        ridge: the ridge classifier.
        draws: T draws, with the labels.
        support_u: features to fit to, (T, K, E).
        query_u: features to test on, (T, K', E).

    Returns:
        (probes, T), float64, on the CPU.
    """
    of_probe = {"ridge": _ridge, "logistic": _logistic, "logistic_cv": _logistic_cv}
    return torch.stack([of_probe[name](ridge, draws, support_u, query_u) for name in names])


def _ridge(ridge: FewShotRidge, draws: Draws, support_u: Tensor, query_u: Tensor) -> Tensor:
    # in double precision: many features of few rows make ill-conditioned equations
    labelled = map_tensors(_double, draws.labelled)
    score = ridge.score(support_u[None].double(), query_u[None].double(), labelled)
    accuracy = score.accuracy.cpu()
    of_first_class = (draws.query_labels == 0).double().mean(-1)
    return torch.where(accuracy.isnan(), of_first_class, accuracy)


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _logistic(_: FewShotRidge, draws: Draws, support_u: Tensor, query_u: Tensor) -> Tensor:
    return _classify(LogisticRegression(max_iter=LOGISTIC_ITERATIONS), draws, support_u, query_u)


def _logistic_cv(_: FewShotRidge, draws: Draws, support_u: Tensor, query_u: Tensor) -> Tensor:
    """All features are centred and scaled by one number, so that the same penalties suit them."""
    mean = support_u.mean(-2, keepdim=True)
    norm = (support_u - mean).square().sum(-1, keepdim=True).mean(-2, keepdim=True).sqrt()
    support, query = ((u - mean) / norm.clamp(min=1e-12) for u in (support_u, query_u))
    fewest = int(draws.support_labels[0].bincount().min())
    search = GridSearchCV(
        LogisticRegression(max_iter=LOGISTIC_ITERATIONS, tol=TOLERANCE),
        {"C": CHOICES_OF_C},
        cv=StratifiedKFold(min(FOLDS, fewest)),
    )
    return _classify(search, draws, support, query)


def _classify(classifier: Any, draws: Draws, support_u: Tensor, query_u: Tensor) -> Tensor:
    """Accuracy (T,) of a scikit-learn classifier, fitted to each draw."""
    scores = []
    for support, query, known, asked in zip(
        support_u.cpu(), query_u.cpu(), draws.support_labels, draws.query_labels, strict=True
    ):
        guess: Tensor | np.ndarray = torch.zeros_like(asked)
        if support.isfinite().all() and query.isfinite().all():
            guess = classifier.fit(support.numpy(), known.numpy()).predict(query.numpy())
        scores.append((torch.as_tensor(guess) == asked).double().mean())
    return torch.stack(scores)
