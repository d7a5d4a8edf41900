"""The running mean of θ, which has less of the noise of the last outer steps."""

import copy

import torch
from torch import Tensor, nn

from lit_lul.estimators.truncated_backprop import flatten
from lit_lul.learners.learner import Learner

RECENCY = 8
"""The mean has a horizon of about 1 / (RECENCY + 1) of the outer steps so far."""


class MeanTheta(nn.Module):
    """A mean of θ over outer steps whose horizon grows with them (Shamir and Zhang 2013).

    Its buffers are part of checkpoints.

    Args:
        parameters: number of elements of θ.
    """

    theta: Tensor
    """The mean, (parameters,)."""
    steps: Tensor
    """Outer steps so far, ()."""

    def __init__(self, parameters: int) -> None:
        super().__init__()
        self.register_buffer("theta", torch.zeros(parameters))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, learner: Learner) -> None:
        """Add θ after an outer step; does not wait for a GPU."""
        self.steps += 1
        share = (RECENCY + 1) / (RECENCY + self.steps)
        self.theta.lerp_(flatten(learner.parameters()), share.to(self.theta.dtype))

    def learner_of(self, learner: Learner) -> Learner:
        """A copy of a learner with the mean as its θ."""
        copied = copy.deepcopy(learner)
        nn.utils.vector_to_parameters(self.theta, copied.parameters())
        return copied
