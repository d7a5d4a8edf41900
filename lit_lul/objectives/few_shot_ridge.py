"""The meta-objective: few-shot ridge regression from the embedding to the labels (appendix G.3).

Shapes: R draws, T tasks, K labelled examples, E embedding units, C target columns (the classes
one-hot, then regression targets).
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.networks.mlp import MLP, Phi, full_precision

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "batches": "apart",
        "penalise_intercept": True,
        "loss_includes_penalty": False,
        "centring": "column",
    },
    "released": {
        "batches": "together",
        "penalise_intercept": False,
        "loss_includes_penalty": True,
        "centring": "all",
    },
}
"""`paper` is appendix G.3 as printed; `released` is what the authors' code computes."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """Settings of `MetaObjective`. What is left at None is the preset's, see `resolve`.

    Raises:
        InvalidInput: for an unknown preset or a penalty that is not positive.
    """

    preset: str = "released"
    """`paper` (G.3) or `released` (the authors' code); fills every setting left at null."""
    ridge: float = 0.1
    """λ, the ridge penalty (App. 24, H.2)."""
    batches: Literal["apart", "together"] | None = None
    """Whether support and query are embedded apart (App. 19-20) or share their batch statistics."""
    penalise_intercept: bool | None = None
    """Whether λ also weighs on the intercept (App. 24)."""
    loss_includes_penalty: bool | None = None
    """Whether λ‖C‖²/K, intercept left out, is added to the loss (not in App. 28)."""
    centring: Literal["column", "all"] | None = None
    """Targets lose the mean of their column (App. 21), or one mean over all of them."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise InvalidInput(
                f"objective preset {self.preset!r}: expected one of {', '.join(PRESETS)}"
            )
        if self.ridge <= 0:
            raise InvalidInput(f"objective ridge {self.ridge}: expected a positive number")

    def resolve(self) -> "ObjectiveSettings":
        """The same settings with the preset's values in place of None."""
        left = {k: v for k, v in PRESETS[self.preset].items() if getattr(self, k) is None}
        return replace(self, **left)


class Labelled(NamedTuple):
    """R draws of the two labelled batches of T tasks; their sizes K and K' may differ."""

    support_x: Tensor
    """(R, T, K, N_0)."""
    support_y: Tensor
    """(R, T, K, C)."""
    query_x: Tensor
    """(R, T, K', N_0)."""
    query_y: Tensor
    """(R, T, K', C)."""
    is_class: Tensor
    """Which columns are classes of the task, (T, C) bool."""
    is_target: Tensor
    """Which columns the task has, (T, C) bool: tasks of a cohort may have unlike columns."""


class Score(NamedTuple):
    """What the meta-objective says of T tasks."""

    loss: Tensor
    """Mean over the draws, (T,)."""
    accuracy: Tensor
    """Share of query examples put into their class, mean over the draws, (T,)."""


class Regression(NamedTuple):
    """A solved few-shot regression."""

    coefficients: Tensor
    """(R, T, E + 1, C), the intercept last."""
    predictions: Tensor
    """Of the query examples, before they are normalised, (R, T, K', C)."""


class MetaObjective:
    """Score φ by how well a linear readout of a few labels predicts others (App. 18-28)."""

    def __init__(self, settings: ObjectiveSettings | None = None) -> None:
        self.settings = (settings or ObjectiveSettings()).resolve()

    def __call__(self, base_model: MLP, phi: Phi, labelled: Labelled) -> Score:
        """Loss and accuracy per task; a loss is NaN where the regression has no solution."""
        return self.score(*self.embed(base_model, phi, labelled), labelled)

    def score(self, support_u: Tensor, query_u: Tensor, labelled: Labelled) -> Score:
        """What `__call__` gives, of features (R, T, K, E) and (R, T, K', E) from anywhere."""
        support_y = self.scale_targets(labelled.support_y, labelled.is_target)
        query_y = self.scale_targets(labelled.query_y, labelled.is_target)
        coefficients, predictions = self.regress(support_u, support_y, query_u)
        unit = predictions / predictions.norm(dim=-1, keepdim=True)  # App. 27
        loss = (unit - query_y).square().sum(-1).mean(-1)  # App. 28
        if self.settings.loss_includes_penalty:
            penalty = coefficients[..., :-1, :].square().sum((-2, -1))
            loss = loss + self.settings.ridge * penalty / support_u.shape[-2]
        guess = predictions.masked_fill(~labelled.is_class.unsqueeze(-2), -torch.inf).argmax(-1)
        truth = labelled.query_y.masked_fill(~labelled.is_class.unsqueeze(-2), -torch.inf).argmax(
            -1
        )
        accuracy = (guess == truth).to(loss.dtype).mean(-1)
        return Score(loss.mean(0), accuracy.mean(0))

    def embed(self, base_model: MLP, phi: Phi, labelled: Labelled) -> tuple[Tensor, Tensor]:
        """Embeddings of support (R, T, K, E) and query (R, T, K', E) (App. 19-20)."""
        if self.settings.batches == "apart":
            return (
                base_model.embed(phi, labelled.support_x),
                base_model.embed(phi, labelled.query_x),
            )
        both = torch.cat([labelled.support_x, labelled.query_x], dim=-2)
        u = base_model.embed(phi, both)
        k = labelled.support_x.shape[-2]
        return u[..., :k, :], u[..., k:, :]

    def scale_targets(self, y: Tensor, is_target: Tensor) -> Tensor:
        """Centre targets (R, T, K, C) and scale them to mean square norm 1 (App. 21-22).

        Columns that a task lacks stay at zero.
        """
        mask = is_target.unsqueeze(-2)
        y = y.masked_fill(~mask, 0.0)
        if self.settings.centring == "column":
            mean = y.mean(-2, keepdim=True)
        else:
            columns = is_target.sum(-1)[..., None, None]
            mean = y.sum((-2, -1), keepdim=True) / (columns * y.shape[-2])
        y = (y - mean).masked_fill(~mask, 0.0)
        return y * torch.rsqrt(y.square().sum(-1).mean(-1)[..., None, None])

    def regress(self, support_u: Tensor, support_y: Tensor, query_u: Tensor) -> Regression:
        """Ridge regression with an intercept, by a Cholesky factorisation (App. 23-26)."""
        support, query = (
            torch.cat([u, torch.ones_like(u[..., :1])], dim=-1) for u in (support_u, query_u)
        )
        penalty = support.new_full((support.shape[-1],), self.settings.ridge)
        if not self.settings.penalise_intercept:
            penalty[-1] = 0.0
        with full_precision(support):
            factor, failed = torch.linalg.cholesky_ex(support.mT @ support + torch.diag(penalty))
            coefficients = torch.cholesky_solve(support.mT @ support_y, factor)
            coefficients = coefficients.masked_fill((failed > 0)[..., None, None], torch.nan)
            return Regression(coefficients, query @ coefficients)
