"""The gradient of an outer step: the mean over all finite truncations of all ranks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lit_lul.estimators.estimator import Outcome
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
