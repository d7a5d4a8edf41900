"""Probes: few-shot classifiers on features of labelled examples.

Shapes: T draws, K labelled examples in the support, K' in the query, E features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import Probe
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective

LOGISTIC_ITERATIONS = 1000


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
    of_probe = {"ridge": _ridge, "logistic": _logistic}
    return torch.stack([of_probe[name](ridge, draws, support_u, query_u) for name in names])


def _ridge(ridge: FewShotRidge, draws: Draws, support_u: Tensor, query_u: Tensor) -> Tensor:
    accuracy = ridge.score(support_u[None], query_u[None], draws.labelled).accuracy.double().cpu()
    of_first_class = (draws.query_labels == 0).double().mean(-1)
    return torch.where(accuracy.isnan(), of_first_class, accuracy)


def _logistic(_: FewShotRidge, draws: Draws, support_u: Tensor, query_u: Tensor) -> Tensor:
    scores = []
    for support, query, known, asked in zip(
        support_u.cpu(), query_u.cpu(), draws.support_labels, draws.query_labels, strict=True
    ):
        guess: Tensor | np.ndarray = torch.zeros_like(asked)
        if support.isfinite().all() and query.isfinite().all():
            classifier = LogisticRegression(max_iter=LOGISTIC_ITERATIONS)
            guess = classifier.fit(support.numpy(), known.numpy()).predict(query.numpy())
        scores.append((torch.as_tensor(guess) == asked).double().mean())
    return torch.stack(scores)
