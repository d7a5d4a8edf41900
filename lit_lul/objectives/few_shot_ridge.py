"""Few-shot ridge regression from the embedding to the labels, the paper's objective (G.3).

Shapes: R draws, T tasks, K labelled examples, E embedding units, C target columns (the classes
one-hot, then regression targets).
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from lit_lul.constraints import Positive
from lit_lul.networks.network import Network, Params, Statistics
from lit_lul.objectives.objective import Labelled, Objective, Score, accuracy
from lit_lul.precision import full_precision


class Regression(NamedTuple):
    """A solved few-shot regression."""

    coefficients: Tensor
    """(R, T, E + 1, C), the intercept last."""
    predictions: Tensor
    """Predictions of the query examples, before they are normalised, (R, T, K', C)."""


@dataclass(frozen=True)
class FewShotRidge(Objective):
    """Scores φ by ridge regression: fit to a few labels, test on others (eq. 2, App. 18-28).

    The defaults are what the authors' released code computes.
    """

    ridge: Positive = 0.1
    """λ, the ridge penalty (App. 24, H.2)."""
    batches: Literal["together", "apart", "unlabelled"] = "together"
    """Whether support and query share batch statistics, each has its own (App. 19-20), or both are
    embedded with those of unlabelled examples, as an inductive evaluation does (not in the paper).
    """
    penalise_intercept: bool = False
    """Whether λ also penalises the intercept (App. 24)."""
    loss_includes_penalty: bool = True
    """Whether λ‖C‖²/K, without the intercept, is added to the loss (not in App. 28)."""
    centring: Literal["all", "column"] = "all"
    """Mean subtracted from targets: one over all of them, or one per column (App. 21)."""
    loss: Literal["cosine", "squared"] = "cosine"
    """Whether predictions are scaled to norm 1 before their squared distance to the targets is
    taken (App. 27), or not."""

    @property
    def needs_unlabelled(self) -> bool:  # type: ignore[override]  # a value derived from `batches`
        """Whether embeddings have the statistics of unlabelled examples."""
        return self.batches == "unlabelled"

    def __call__(self, network: Network, params: Params, labelled: Labelled) -> Score:
        """Loss and accuracy of T tasks; both are NaN where the regression has no solution."""
        x = labelled.unlabelled_x
        statistics = None if x is None else network.statistics(params, x)
        return self.score(*self.embed(network, params, labelled, statistics), labelled)

    def score(self, support_u: Tensor, query_u: Tensor, labelled: Labelled) -> Score:
        """The score of given features (R, T, K, E) and (R, T, K', E) (App. 21-28)."""
        support_y = self.scale_targets(labelled.support_y, labelled.is_target)
        query_y = self.scale_targets(labelled.query_y, labelled.is_target)
        coefficients, predictions = self.regress(support_u, support_y, query_u)
        guesses = predictions
        if self.loss == "cosine":
            guesses = predictions / predictions.norm(dim=-1, keepdim=True)  # App. 27
        loss = (guesses - query_y).square().sum(-1).mean(-1)  # App. 28
        if self.loss_includes_penalty:
            penalty = coefficients[..., :-1, :].square().sum((-2, -1))
            loss = loss + self.ridge * penalty / support_u.shape[-2]
        hits = accuracy(predictions, labelled).masked_fill(~loss.isfinite(), torch.nan)
        return Score(loss.mean(0), hits.mean(0))

    def embed(
        self,
        network: Network,
        params: Params,
        labelled: Labelled,
        statistics: Statistics | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings of support (R, T, K, E) and query (R, T, K', E) (App. 19-20).

        `statistics` are batch statistics of other examples, for an inductive embedding; None for
        those of the labelled batches, as `batches` says.
        """
        support, query = labelled.support_x, labelled.query_x
        if self.batches == "apart":
            support_u = network.embed(params, support, statistics)
            return support_u, network.embed(params, query, statistics)
        u = network.embed(params, torch.cat([support, query], dim=-2), statistics)
        k = support.shape[-2]
        return u[..., :k, :], u[..., k:, :]

    def scale_targets(self, y: Tensor, is_target: Tensor) -> Tensor:
        """Centre targets (R, T, K, C) and scale them to mean square norm 1 (App. 21-22).

        Columns that a task does not have stay zero.
        """
        mask = is_target.unsqueeze(-2)
        y = y.masked_fill(~mask, 0.0)
        if self.centring == "column":
            mean = y.mean(-2, keepdim=True)
        else:
            columns = is_target.sum(-1)[..., None, None]
            mean = y.sum((-2, -1), keepdim=True) / (columns * y.shape[-2])
        y = (y - mean).masked_fill(~mask, 0.0)
        return y * torch.rsqrt(y.square().sum(-1).mean(-1)[..., None, None])

    def regress(self, support_u: Tensor, support_y: Tensor, query_u: Tensor) -> Regression:
        """Ridge regression with an intercept, by a Cholesky factorisation (App. 23-26).

        Solved for a coefficient per feature, or per example where examples are fewer; both give the
        same. Coefficients are NaN where there is no solution.
        """
        support, query = (
            torch.cat([u, torch.ones_like(u[..., :1])], dim=-1) for u in (support_u, query_u)
        )
        with full_precision(support):
            examples, features = support.shape[-2:]
            solve = self._by_feature if features <= examples else self._by_example
            coefficients = solve(support, support_y)
            return Regression(coefficients, query @ coefficients)

    def _by_feature(self, support: Tensor, y: Tensor) -> Tensor:
        """(SᵀS + λ)⁻¹ Sᵀy, (R, T, E + 1, C); S (R, T, K, E + 1) has a column of ones."""
        penalty = support.new_full((support.shape[-1],), self.ridge)
        if not self.penalise_intercept:
            penalty[-1] = 0.0
        return _solve(support.mT @ support + torch.diag(penalty), support.mT @ y)

    def _by_example(self, support: Tensor, y: Tensor) -> Tensor:
        """Sᵀ (SSᵀ + λ)⁻¹ y; a free intercept is that of centred S and y."""
        penalty = self.ridge * torch.eye(
            support.shape[-2], dtype=support.dtype, device=support.device
        )
        if self.penalise_intercept:
            return support.mT @ _solve(support @ support.mT + penalty, y)
        u, centre = support[..., :-1], y.mean(-2, keepdim=True)
        mean = u.mean(-2, keepdim=True)
        u = u - mean
        slopes = u.mT @ _solve(u @ u.mT + penalty, y - centre)
        return torch.cat([slopes, centre - mean @ slopes], dim=-2)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """The solution of symmetric equations; NaN where the matrix is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.cholesky_solve(right, factor).masked_fill((failed > 0)[..., None, None], torch.nan)


PAPER: dict[str, Any] = {
    "batches": "apart",
    "penalise_intercept": True,
    "loss_includes_penalty": False,
    "centring": "column",
}
"""Appendix G.3 as printed: `FewShotRidge(**PAPER)`."""
