"""The signal-to-noise ratio of the meta-gradient, per truncation and per second.

    python benchmarks/gradient_noise.py --checkpoint last.ckpt --config FILE ... [--cohorts 16]

The cohorts of each configuration are rolled out with the checkpoint's θ to various ages, up to the
first problem length, and then give one gradient of θ each, divided by the root of Adam's second
moments in the checkpoint. The signal is the mean product of two cohorts' gradients, an unbiased
estimate of the squared norm of the expected gradient; its share s is relative to the mean squared
norm. An outer step over n cohorts has a share of s n / (1 + s (n - 1)). `per second` is s / (1 - s)
divided by the seconds of a truncation, sampling included: what an optimizer gets that averages over
time. `labels` and `minibatches` show the sources of noise: the share that two gradients have in
common if only the labelled draws, or only the unlabelled minibatches, are drawn again.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sampling import instantiate, truncation_of
from torch import Tensor

from lit_lul.devices import keep_freed_memory
from lit_lul.errors import InvalidInput
from lit_lul.estimators.estimator import Truncation, seeded
from lit_lul.estimators.truncated_backprop import unroll
from lit_lul.learners import State
from lit_lul.tasks.source import Seeds
from lit_lul.training.checkpoints import AtomicCheckpointIO
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.module import MetaLightningModule

CPU = torch.device("cpu")
TASKS, PAST, FIRST, SECOND = 1, 2, 3, 4
"""Purposes of random generators; part of their seeds."""


class Gradients:
    """Gradients of θ under one configuration.

    Args:
        config: configuration of a fit.
        checkpoint: checkpoint of a run with the same settings: θ and Adam's state.
        cohorts: number of cohorts.
        precision: precision of the hidden states.
    """

    def __init__(
        self, config: Path, checkpoint: dict[str, Any], cohorts: int, precision: torch.dtype
    ) -> None:
        self.module: MetaLightningModule
        self.data: TaskDataModule
        self.module, self.data = instantiate(config)
        state = checkpoint["state_dict"]
        names = [name for name in state if name.startswith("learner.")]
        self.module.learner.load_state_dict({n.removeprefix("learner."): state[n] for n in names})
        moments = checkpoint["optimizer_states"][0]["state"]
        second = [moments[i]["exp_avg_sq"].flatten() for i in sorted(moments)]
        self.scale = torch.cat(second).sqrt() + 1e-8
        self.data.prepare_data()
        self.data.setup("fit")
        self.cohorts, self.precision = cohorts, precision
        sizes = replace(self.data.sizes, cohorts=cohorts)
        self.stream = self.data.stream(self.data.training, sizes)

    def truncation(self, cohort: int, steps: int, purpose: int) -> Truncation:
        """A truncation of a cohort; the cohort's tasks are always the same."""
        rng = np.random.default_rng(cohort)
        family = self.stream.sample_family(self.stream.strata[cohort], rng)
        plan = self.stream.plan(cohort, family, steps, Seeds([cohort, TASKS], [cohort, purpose]))
        return truncation_of(plan)

    def advance(self, cohort: int) -> State:
        """The state of a cohort; ages are evenly spread up to the first problem length."""
        age = 1 + int(self.data.problem_length.first * cohort / self.cohorts)
        past, learner = self.truncation(cohort, age, PAST), self.module.learner
        with torch.no_grad(), self._autocast():
            start = learner.start(past.network, past.tasks, seeded(past.start_seed, CPU))
            return unroll(learner, past.network, start, past.batches)

    def gradient(self, state: State, truncation: Truncation) -> Tensor:
        """The gradient of θ as one vector, divided by Adam's scale."""
        module = self.module
        with self._autocast():
            outcome = module.estimator(module.learner, module.objective, state, truncation)
        return outcome.gradient / self.scale

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32)


def measure(gradients: Gradients, what: str) -> list[str]:
    """The cells of a configuration's row."""
    vectors, seconds, labels, minibatches = [], [], [], []
    steps = round(sum(gradients.data.unroll_length.first) / 2)
    for cohort in track(range(gradients.cohorts), what, transient=True):
        state = gradients.advance(cohort)
        other = gradients.truncation(cohort, steps, SECOND)
        gradients.gradient(state, other)  # warm-up: compiles what this size needs
        start = time.perf_counter()
        first = gradients.truncation(cohort, steps, FIRST)
        vector = gradients.gradient(state, first)
        seconds.append(time.perf_counter() - start)
        vectors.append(vector)
        relabelled = replace(first, labelled=other.labelled)
        labels.append(vector @ gradients.gradient(state, relabelled))
        resampled = replace(first, batches=other.batches)
        minibatches.append(vector @ gradients.gradient(state, resampled))
    products = torch.stack(vectors) @ torch.stack(vectors).T
    n, squared = len(products), products.diag().mean()
    share = (products.sum() - products.diag().sum()) / (n * (n - 1)) / squared
    cost = float(np.median(seconds))
    left = (torch.stack(dots).mean() / squared for dots in (labels, minibatches))
    return [
        f"{share:.3f}",
        f"{cost:.2f}",
        f"{share / (1 - share) / cost:.2f}",
        *(f"{value:.2f}" for value in left),
    ]


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--checkpoint", type=Path, required=True, help="a run's last.ckpt")
    arguments.add_argument("--config", type=Path, nargs="+", required=True)
    arguments.add_argument("--cohorts", type=int, default=16)
    arguments.add_argument("--precision", choices=("float32", "bf16"), default="bf16")
    args = arguments.parse_args()
    keep_freed_memory()
    precision = torch.float32 if args.precision == "float32" else torch.bfloat16
    try:
        checkpoint = AtomicCheckpointIO().load_checkpoint(args.checkpoint)
        if "optimizer_states" not in checkpoint:
            raise InvalidInput(f"{args.checkpoint}: holds only θ, expected a run's last.ckpt")
    except InvalidInput as error:
        sys.exit(f"error: {error}")
    columns = ("signal share", "s per truncation", "per second", "labels", "minibatches")
    table = Table("configuration", *columns, title=f"meta-gradient at {args.checkpoint}")
    for config in args.config:
        gradients = Gradients(config, checkpoint, args.cohorts, precision)
        table.add_row(str(config), *measure(gradients, config.name))
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
