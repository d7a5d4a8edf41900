"""Few-shot regression with a penalty chosen for every draw, as a careful user would choose it.

Shapes: R draws, T tasks, K labelled examples, E embedding units, C target columns.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lit_lul.networks.network import Network, Params
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Labelled, Objective, Score
from lit_lul.precision import full_precision

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Choices of λ, as multiples of the K examples' summed squared norms."""


@dataclass(frozen=True)
class TunedRidge(Objective):
    """Mean score of two ridge regressions: one with a fixed λ, one with the best of several.

    The second one centres the embeddings, scales them by one number, and takes for every draw the λ
    with the least leave-one-out error on the support examples. So an embedding is not rewarded for
    the scale at which one λ suits it, which is what a fixed λ alone rewards. Not in the paper.
    """

    ridge: FewShotRidge = field(default_factory=lambda: FewShotRidge(batches="unlabelled"))
    """The regression with a fixed λ; also says how both embed, scale targets and measure loss."""

    @property
    def needs_unlabelled(self) -> bool:  # type: ignore[override]  # a value derived from `ridge`
        """Whether embeddings have the statistics of unlabelled examples."""
        return self.ridge.needs_unlabelled

    def __call__(self, network: Network, params: Params, labelled: Labelled) -> Score:
        """Loss and accuracy of T tasks; both are NaN where the regression has no solution."""
        x = labelled.unlabelled_x
        statistics = None if x is None else network.statistics(params, x)
        support_u, query_u = self.ridge.embed(network, params, labelled, statistics)
        fixed = self.ridge.score(support_u, query_u, labelled)
        support_y = self.ridge.scale_targets(labelled.support_y, labelled.is_target)
        tuned = self.ridge.judge(tuned_predictions(support_u, support_y, query_u), labelled)
        return Score(*((a + b) / 2 for a, b in zip(fixed, tuned, strict=True)))


def tuned_predictions(support_u: Tensor, support_y: Tensor, query_u: Tensor) -> Tensor:
    """Predictions (R, T, K', C) of ridge regressions, each with the λ of least leave-one-out error.

    Args:
        support_u: features to fit to, (R, T, K, E).
        support_y: their targets, (R, T, K, C).
        query_u: features to predict for, (R, T, K', E).
    """
    k, mean = support_u.shape[-2], support_u.mean(-2, keepdim=True)
    scale = torch.rsqrt((support_u - mean).square().sum(-1).mean(-1)[..., None, None])
    u, query = (support_u - mean) * scale, (query_u - mean) * scale
    intercept = support_y.mean(-2, keepdim=True)
    y = support_y - intercept
    with full_precision(u):
        gram, product = u.mT @ u, u.mT @ y
        with torch.no_grad():
            every = torch.stack([_factor(gram, k * p) for p in PENALTIES])  # (choices, R, T, E, E)
            fitted = u @ torch.cholesky_solve(product.expand(*every.shape[:-1], -1), every)
            inverse = torch.cholesky_solve(u.mT.expand(*every.shape[:-1], -1), every)
            influence = (u * inverse.mT).sum(-1, keepdim=True) + 1 / k
            errors = ((y - fitted) / (1 - influence)).square().sum((-2, -1))
            best = torch.tensor(PENALTIES, device=u.device, dtype=u.dtype)[errors.argmin(0)]
        factor = _factor(gram, k * best[..., None, None])
        return query @ torch.cholesky_solve(product, factor) + intercept


def _factor(gram: Tensor, penalty: Tensor | float) -> Tensor:
    """Cholesky factors of gram + λ I; NaN where there is none."""
    identity = torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)
    factor, failed = torch.linalg.cholesky_ex(gram + penalty * identity)
    factors: Tensor = factor.masked_fill((failed > 0)[..., None, None], torch.nan)
    return factors
