"""What is logged of a run: meta-loss and accuracy per task family, speed and memory."""

import re
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class FamilyMeans(Metric):
    """Mean of a value per task family, over all tasks since the last reset.

    Args:
        families: names, in the order of the indices passed to `update`.
    """

    total: Tensor
    count: Tensor
    full_state_update = False

    def __init__(self, families: list[str]) -> None:
        super().__init__()
        self.families = families
        zeros = torch.zeros(len(families), dtype=torch.float64)
        self.add_state("total", zeros, dist_reduce_fx="sum", persistent=True)
        self.add_state("count", zeros.clone(), dist_reduce_fx="sum", persistent=True)

    def update(self, value: Tensor, family: int) -> None:
        """Add the values of T tasks (T,) of one family, except values that are not finite."""
        finite = value.isfinite()
        self.total[family] += value.double().masked_fill(~finite, 0).sum()
        self.count[family] += finite.sum()

    def compute(self) -> dict[str, Tensor]:
        """The mean of all tasks as "", and of every family that was seen by its name.

        "families" is the mean of the family means, in which every family counts once.
        """
        seen, means = self.count > 0, self.total / self.count
        return {
            "": self.total.sum() / self.count.sum(),
            "families": means[seen].mean(),
            **{name: means[i] for i, name in enumerate(self.families) if seen[i]},
        }


class UnrollMetrics(nn.Module):
    """Meta-loss and few-shot accuracy of a stage's truncations, by the names of task families."""

    def __init__(self, stage: str, families: list[str]) -> None:
        super().__init__()
        self.stage = stage
        self.meta_loss, self.accuracy = FamilyMeans(families), FamilyMeans(families)

    def update(self, loss: Tensor, accuracy: Tensor, family: int) -> None:
        """Add the scores of T tasks of one family, (T,) each."""
        self.meta_loss.update(loss, family)
        self.accuracy.update(accuracy, family)

    def summarise(self) -> dict[str, Tensor]:
        """Means since the last call, over all tasks and by family, by logged name."""
        means: dict[str, Tensor] = {}
        for name, metric in (("meta_loss", self.meta_loss), ("accuracy", self.accuracy)):
            for family, value in metric.compute().items():
                means[f"{self.stage}/{name}/{family}".rstrip("/")] = value.float()
            metric.reset()
        return means


class Throughput:
    """Counts inner steps and truncations per second."""

    def __init__(self) -> None:
        self._inner_steps, self._truncations, self._since = 0, 0, time.perf_counter()

    def count(self, inner_steps: int) -> None:
        """Add a completed truncation; inner steps are counted per task."""
        self._inner_steps += inner_steps
        self._truncations += 1

    def lap(self) -> tuple[float, float]:
        """Inner steps and truncations per second since the last call, on this rank."""
        now = time.perf_counter()
        seconds = now - self._since
        speeds = self._inner_steps / seconds, self._truncations / seconds
        self._inner_steps, self._truncations, self._since = 0, 0, now
        return speeds


def peak_memory(device: torch.device) -> float:
    """Peak memory of this process so far, in GiB.

    On a GPU the memory allocated there, else the resident size of the process; NaN where the system
    does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    return int(found[1]) / 2**20 if found else float("nan")
