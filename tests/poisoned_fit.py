"""The command line in float64 with a spoilt truncation of one cohort, for several processes.

    torchrun --nproc-per-node 2 tests/poisoned_fit.py fit ...

Each rank appends to the file that ALL_REDUCES names one line for every truncation: its process, its
rank, and how often it met the others in an all-reduce. Those of DistributedDataParallel's hooks do
not show here; they would spoil the other rank's cohorts too.
"""

import os
import sys
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist

from lit_lul.cli import main
from lit_lul.errors import InvalidInput
from lit_lul.learners.update_rule import UnsupervisedUpdate
from lit_lul.objectives.few_shot_ridge import Labelled
from lit_lul.training.module import MetaLightningModule

COHORT, OUTER_STEP = 2, 1
"""What is spoilt: of two ranks with two cohorts each, a cohort of the second rank."""

_step, _make_rule = MetaLightningModule.training_step, MetaLightningModule.make_rule


def exact_rule(self: MetaLightningModule) -> UnsupervisedUpdate:
    """A rule in float64."""
    return _make_rule(self).double()


def poisoned_step(self: MetaLightningModule, batch: Any, batch_idx: int) -> None:
    """A training step in float64, whose φ is not finite where that is due.

    In float32 the order of a sum may decide on which side of a relu's kink a value lies.
    """
    batch.unlabelled = batch.unlabelled.double()
    batch.labelled = Labelled(*(t.double() if t.is_floating_point() else t for t in batch.labelled))
    self._sums = {name: value.double() for name, value in self._sums.items()}
    poisoned = (batch.cohort, self.trainer.global_step) == (COHORT, OUTER_STEP)
    if batch.fresh or batch.cohort not in self.cohorts or poisoned:
        scale = torch.nan if poisoned else 1.0
        self.cohorts[batch.cohort] = self._fresh_phi(batch).map(lambda p: p.double() * scale)
        batch.fresh = False
    _step(self, batch, batch_idx)


def counted_step(self: MetaLightningModule, batch: Any, batch_idx: int) -> None:
    """A poisoned step that counts its all-reduces, or fails on the rank that FAIL names."""
    if os.environ.get("FAIL") == str(self.global_rank):
        raise InvalidInput("this rank fails")
    with mock.patch.object(dist, "all_reduce", side_effect=dist.all_reduce) as all_reduce:
        poisoned_step(self, batch, batch_idx)
    met = all_reduce.call_count
    with open(os.environ["ALL_REDUCES"], "a") as file:
        file.write(f"{os.getpid()} {self.global_rank} {met}\n")


if __name__ == "__main__":
    try:
        with (
            mock.patch.object(MetaLightningModule, "training_step", counted_step),
            mock.patch.object(MetaLightningModule, "make_rule", exact_rule),
        ):
            main()
    except InvalidInput as error:
        sys.exit(f"error: {error}")
