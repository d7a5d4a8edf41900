"""What studies check: differences over draws, seeds or episodes, and claims about them."""

from collections.abc import Mapping

import torch
from numpy.typing import ArrayLike

from lit_lul.evaluation.curve import Curve
from lit_lul.report.page import Check, Difference, every

POINTS = 2.0


def over_draws(values: ArrayLike) -> Difference:
    """Mean and standard error of a difference in every draw, (draws,)."""
    curve = Curve.of((0,), torch.as_tensor(values, dtype=torch.float64)[None])
    return Difference(curve.mean[0], curve.standard_error[0])


def everywhere(claim: str, gaps: Mapping[str, Difference]) -> list[Check]:
    """A check that all differences are positive; none if nothing has been measured."""
    return [every(claim, gaps)] if gaps else []


def within(claim: str, gaps: Mapping[str, Difference], points: float = POINTS) -> list[Check]:
    """A check that all differences are at most so many points in size; none without differences."""
    slack = {name: Difference(points - abs(gap.mean), gap.error) for name, gap in gaps.items()}
    numbers = "; ".join(f"{name} {gap}" for name, gap in gaps.items())
    claim = f"{claim}, to {points:g} points"
    return [Check(claim, numbers, check.held) for check in everywhere(claim, slack)]


def told(values: ArrayLike, digits: int, sign: str = "") -> str:
    """Mean and standard error of values, in so many digits."""
    found = over_draws(values)
    return f"{found.mean:{sign}.{digits}f} ± {found.error:.{digits}f}"
