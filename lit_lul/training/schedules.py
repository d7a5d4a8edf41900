"""Schedules of the meta rate (appendix H.2)."""

from collections.abc import Sequence

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lit_lul.errors import InvalidInput


class PiecewiseConstantLR(LambdaLR):
    """A learning rate that jumps to given multiples of its first value.

    Args:
        optimizer: the optimizer whose rate is set.
        milestones: outer steps at which the rate changes, in increasing order.
        factors: the multiple from each milestone on; the paper has 1/3 and 1/15 of 3e-4.

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
