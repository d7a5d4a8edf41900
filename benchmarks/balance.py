"""Load balance of ranks: the cost of the busiest rank relative to the mean, over many outer steps.

    python benchmarks/balance.py --config configs/paper.yaml --ranks 2 8 32 --timed 16

Ranks wait for each other once per outer step: 1.00 is perfect, and at 1.25 a fifth of the time is
spent waiting. The cost of a truncation is its network's `cost` times its inner steps, with the
curricula at their end. The sampler is compared with one whose cohorts draw inner steps, networks
and families independently. With --timed N, N truncations of one task are run forward and backward,
to measure how well the costs predict seconds.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sampling import instantiate, truncation_of, unroll_seconds

from lit_lul.tasks.plan import Plan
from lit_lul.tasks.source import Seeds
from lit_lul.tasks.stream import Stratum, TaskStream
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.module import MetaLightningModule

TRUNCATIONS = 12_800
WARM_UP = 2
AT_THE_END = 10**9
"""An outer step at which all curricula have ended."""


def stream_of(data: TaskDataModule, total: int, independent: bool) -> TaskStream:
    """A stream of `total` cohorts, with strata or with independent draws."""
    stream = data.stream(data.training, replace(data.sizes, cohorts=total))
    if independent:
        stream.strata = [Stratum((0.0, 1.0), (0.0, 1.0))] * total
    return stream


def truncations(
    stream: TaskStream, total: int, outer_steps: int, independent: bool
) -> Iterator[tuple[Plan, int]]:
    """Plans of new cohorts and their inner steps, one outer step after another."""
    rng = np.random.default_rng(0)
    for outer_step in range(outer_steps):
        shared = stream.unroll_length.sample(AT_THE_END, rng)
        for cohort in range(total):
            own = stream.unroll_length.sample(AT_THE_END, rng)
            steps = own if independent else shared
            seeds = Seeds([outer_step, cohort, 1], [outer_step, cohort, 2])
            family = stream.sample_family(stream.strata[cohort], rng)
            yield stream.plan(cohort, family, steps, seeds), steps


def cost(plan: Plan, steps: int) -> float:
    """The estimated cost of a truncation, per task."""
    return steps * plan.network.cost


def imbalance(data: TaskDataModule, ranks: int, cohorts: int, independent: bool) -> float:
    """The busiest rank's cost divided by the mean rank's, averaged over outer steps."""
    total = ranks * cohorts
    stream = stream_of(data, total, independent)
    planned = truncations(stream, total, TRUNCATIONS // total, independent)
    of_ranks = np.array([cost(*plan) for plan in planned]).reshape(-1, ranks, cohorts).sum(axis=2)
    return float((of_ranks.max(axis=1) / of_ranks.mean(axis=1)).mean())


def correlation(module: MetaLightningModule, data: TaskDataModule, count: int) -> float:
    """The correlation of truncations' seconds with their costs."""
    seconds, costs = [], []
    stream = stream_of(data, count, independent=True)
    for plan, steps in truncations(stream, 1, count + WARM_UP, independent=True):
        seconds.append(unroll_seconds(module, truncation_of(plan)))
        costs.append(cost(plan, steps))
    return float(np.corrcoef(seconds[WARM_UP:], costs[WARM_UP:])[0, 1])


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--config", type=Path, required=True)
    arguments.add_argument("--ranks", type=int, nargs="+", default=[2, 8, 32])
    arguments.add_argument("--timed", type=int, default=0)
    args = arguments.parse_args()
    module, data = instantiate(args.config)
    module.learner.prepare(module.compile_learner)
    data.prepare_data()
    data.setup("fit")
    cohorts, batch_size = data.sizes.cohorts, data.sizes.batch_size
    data.sizes = replace(data.sizes, tasks=1, batch_size=1, labels_per_class=1, draws=1)
    table = Table("ranks", "cohorts each", "sampler", "independent draws", title=args.config.name)
    for ranks in args.ranks:
        found = [imbalance(data, ranks, cohorts, independent) for independent in (False, True)]
        table.add_row(str(ranks), str(cohorts), *(f"{value:.3f}" for value in found))
    console = Console(highlight=False)
    console.print(table)
    if args.timed:
        data.sizes = replace(data.sizes, batch_size=batch_size)
        value = correlation(module, data, args.timed)
        console.print(f"{args.timed} truncations: correlation of cost and seconds {value:.3f}")


if __name__ == "__main__":
    main()
