"""Running means of what meta-training measures."""

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class FamilyMeans(Metric):
    """Mean of a value per task family, over all tasks since the last reset.

    Args:
        families: names, in the order of the indices that `update` is given.
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
        """Add the values of T tasks (T,) of one family; those not finite are left out."""
        finite = value.isfinite()
        self.total[family] += value.double().masked_fill(~finite, 0).sum()
        self.count[family] += finite.sum()

    def compute(self) -> dict[str, Tensor]:
        """The mean of all tasks under "", and of every family that was seen under its name.

        Under "families" the mean of the latter: however often a family is drawn, it counts once.
        """
        seen = self.count > 0
        means = {
            "": self.total.sum() / self.count.sum(),
            "families": (self.total / self.count)[seen].mean(),
        }
        means |= {
            name: self.total[i] / self.count[i] for i, name in enumerate(self.families) if seen[i]
        }
        return means


class UnrollMetrics(nn.Module):
    """What the truncations of one stage scored: meta-loss and few-shot accuracy.

    Args:
        stage: first part of the names that values are logged under.
        families: names of the task families.
    """

    def __init__(self, stage: str, families: list[str]) -> None:
        super().__init__()
        self.stage = stage
        self.meta_loss, self.accuracy = FamilyMeans(families), FamilyMeans(families)

    def update(self, loss: Tensor, accuracy: Tensor, family: int) -> None:
        """Add what T tasks of one family scored, (T,) each."""
        self.meta_loss.update(loss, family)
        self.accuracy.update(accuracy, family)

    def summarise(self) -> dict[str, Tensor]:
        """Means since the last call, over all tasks and by family, by the names to log under."""
        means: dict[str, Tensor] = {}
        for name, metric in (("meta_loss", self.meta_loss), ("accuracy", self.accuracy)):
            for family, value in metric.compute().items():
                means["/".join(filter(None, (self.stage, name, family)))] = value.float()
            metric.reset()
        return means
