"""The meta-optimizer of the paper, and schedules of its rate (appendix H.2)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lit_lul.errors import InvalidInput


class PiecewiseConstantLR(LambdaLR):
    """A learning rate that changes to given multiples of its initial value.

    Args:
        optimizer: the optimizer whose learning rate is set.
        milestones: outer steps at which the rate changes, in increasing order.
        factors: the multiple from each milestone on; 1/3 and 1/15 of 3e-4 in the paper.

    Raises:
        InvalidInput: when the two lists differ in length or the milestones do not increase.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], factors: Sequence[float]
    ) -> None:
        if len(milestones) != len(factors) or list(milestones) != sorted(set(milestones)):
            raise InvalidInput(
                f"learning rate milestones {list(milestones)} with factors {list(factors)}: "
                "expected increasing milestones and one factor for each"
            )
        steps, multiples = list(milestones), [1.0, *factors]

        def factor(outer_step: int) -> float:
            return multiples[int(np.searchsorted(steps, outer_step, side="right"))]

        super().__init__(optimizer, factor)


def paper_optimizer(params: Any) -> torch.optim.Optimizer:
    """Adam at 3e-4 (H.2)."""
    return torch.optim.Adam(params, lr=3e-4)


def paper_schedule(optimizer: torch.optim.Optimizer) -> PiecewiseConstantLR:
    """1e-4 from 100,000 outer steps on and 2e-5 from 150,000 (H.2)."""
    return PiecewiseConstantLR(optimizer, milestones=[100_000, 150_000], factors=[1 / 3, 1 / 15])
