"""The command line with a spoilt truncation of one cohort, for several processes.

    torchrun --nproc-per-node 2 tests/poisoned_fit.py fit ...

Each rank appends to the file that ALL_REDUCES names one line for every truncation: its process, its
rank, and how often it met the others in an all-reduce. Those of DistributedDataParallel's hooks do
not show here; they would spoil the other rank's cohorts too.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only

from lit_lul.cli import main
from lit_lul.errors import InvalidInput
from lit_lul.training.module import MetaLightningModule
from lit_lul.trees import map_tensors

COHORT, OUTER_STEP = 2, 1
"""What is spoilt: of two ranks with two cohorts each, a cohort of the second rank."""

_step = MetaLightningModule.training_step


def poisoned_step(self: MetaLightningModule, batch: Any, batch_idx: int) -> None:
    """A training step before which the state is not finite where that is due."""
    if (batch.cohort, self.trainer.global_step) == (COHORT, OUTER_STEP):
        start = self.learner.start(batch.network, batch.tasks, torch.Generator())
        self.cohorts[batch.cohort] = map_tensors(lambda t: t * torch.nan, start)
        batch.fresh = False
    _step(self, batch, batch_idx)


def counted_step(self: MetaLightningModule, batch: Any, batch_idx: int) -> None:
    """A poisoned step that counts its all-reduces.

    The rank that FAIL names fails; after as many outer steps as HOLD says, ranks wait for a kill.
    """
    if os.environ.get("FAIL") == str(self.global_rank):
        raise InvalidInput("this rank fails")
    if os.environ.get("HOLD") == str(self.trainer.global_step):
        time.sleep(60)
    with mock.patch.object(dist, "all_reduce", side_effect=dist.all_reduce) as all_reduce:
        poisoned_step(self, batch, batch_idx)
    met = all_reduce.call_count
    with open(os.environ["ALL_REDUCES"], "a") as file:
        file.write(f"{os.getpid()} {self.global_rank} {met}\n")


def run() -> None:
    """Run the command line of this process."""
    try:
        with mock.patch.object(MetaLightningModule, "training_step", counted_step):
            main()
    except InvalidInput as error:
        sys.exit(f"error: {error}")


def forked(folder: Path, args: list[str], environment: dict[str, str], errors: Path) -> None:
    """Be the process of such a command, with a file for stderr: imports are done already."""
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = [__file__, *args]
    # Lightning reads it at import, and does not declare it
    rank_zero_only.rank = int(environment.get("LOCAL_RANK", 0))  # type: ignore[attr-defined]
    for descriptor, path in ((1, os.devnull), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    run()


if __name__ == "__main__":
    run()
