"""The outer step: the mean gradient of all ranks, and the running mean of θ."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lit_lul.estimators.estimator import Outcome
from lit_lul.estimators.truncated_backprop import flatten
from lit_lul.learners.learner import Learner
from lit_lul.training.ranks import reduce


class GradientSum:
    """The sum of the gradients of an outer step's truncations; adding does not wait for a GPU.

    A truncation whose loss or gradient is not finite is not added; `take_failed` gives its cohort.

    Args:
        parameters: number of elements of θ.
        clip_norm: largest norm of a truncation's gradient; larger ones are scaled to it.
    """

    def __init__(self, parameters: int, clip_norm: float = float("inf")) -> None:
        self.clip_norm = clip_norm
        self.tensors = {
            "gradient": torch.zeros(parameters),
            "contributions": torch.zeros(()),
            "restarts": torch.zeros(()),
        }
        """The sum (parameters,), the truncations in it (), and all truncations not added ()."""
        self._failed: dict[int, Tensor] = {}

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the sums to the device and dtype of θ."""
        self.tensors = {name: t.to(device, dtype) for name, t in self.tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Resume with the sums of a checkpoint."""
        self.tensors = {name: tensors[name] for name in self.tensors}

    def add(self, cohort: int, outcome: Outcome) -> None:
        """Add a truncation of a cohort."""
        finite = outcome.gradient.isfinite().all() & outcome.score.loss.isfinite().all()
        scale = (self.clip_norm / outcome.gradient.norm()).clamp(max=1)
        self.tensors["gradient"] += torch.where(finite, scale * outcome.gradient, 0.0)
        self.tensors["contributions"] += finite
        self.tensors["restarts"] += ~finite
        self._failed[cohort] = ~finite

    def mean(self, stop: int) -> tuple[Tensor, bool]:
        """Return the mean over all ranks, in one all-reduce, and reset the sum.

        Args:
            stop: this rank's stop signal, 0 for none.

        Returns:
            The gradient, (parameters,), and whether any rank got a stop signal.
        """
        gradient, contributions = self.tensors["gradient"], self.tensors["contributions"]
        stops = torch.full_like(contributions, stop)
        together = reduce(torch.cat([gradient, torch.stack([contributions, stops])]))
        gradient.zero_()
        contributions.zero_()
        return together[:-2] / together[-2].clamp(min=1), bool(together[-1] > 0)

    def take_failed(self) -> list[int]:
        """Cohorts that were not added since the last call; waits for the device once."""
        if not self._failed:
            return []
        flags = torch.stack(list(self._failed.values())).tolist()
        failed = [cohort for cohort, flag in zip(self._failed, flags, strict=True) if flag]
        self._failed = {}
        return failed


RECENCY = 8
"""The mean has a horizon of about 1 / (RECENCY + 1) of the outer steps so far."""


class MeanTheta(nn.Module):
    """A mean of θ over outer steps whose horizon grows with them (Shamir and Zhang 2013).

    Its buffers are part of checkpoints.
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
