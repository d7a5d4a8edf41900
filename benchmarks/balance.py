"""How evenly ranks are loaded: the cost of the busiest against the mean, over many outer steps.

    python benchmarks/balance.py --config configs/paper.yaml --ranks 2 8 32 --timed 16

Ranks wait for each other once per outer step: 1.00 is perfect, and at 1.25 a fifth of the time goes
by waiting. The cost of a truncation is `inner_step_cost` times its inner steps, with the curricula
at their end; the sampler as it is, and to compare one whose cohorts draw their inner steps,
architectures and families each for itself. With --timed, so many truncations of one task are run,
forward and backward, to see whether seconds follow the costs.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sampling import DEVICE, instantiate, unroll_seconds

from lit_lul.tasks.balance import Stratum, inner_step_cost
from lit_lul.tasks.batch import make_batch
from lit_lul.tasks.cohorts import CohortSampler
from lit_lul.tasks.draw import TruncationDraw
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.module import MetaLightningModule

TRUNCATIONS = 12_800
WARM_UP = 2
AT_THE_END = 10**9
"""An outer step at which curricula are over."""


def sampler_of(data: TaskDataModule, total: int, independent: bool) -> CohortSampler:
    """A sampler of so many cohorts, in their strata or each on its own."""
    sampler = data._sampler(data._training, data.seed, total, 0)
    if independent:
        sampler._strata = [Stratum((0.0, 1.0), (0.0, 1.0))] * total
    return sampler


def truncations(
    sampler: CohortSampler, total: int, outer_steps: int, independent: bool
) -> Iterator[TruncationDraw]:
    """Truncations of new cohorts, the cohorts of one outer step after those of another."""
    rng = np.random.default_rng(0)
    for _ in range(outer_steps):
        shared = sampler.unroll_length.sample(AT_THE_END, rng)
        for cohort in range(total):
            own = sampler.unroll_length.sample(AT_THE_END, rng)
            yield sampler.draw(cohort, True, 0, own if independent else shared, rng, rng)


def cost(draw: TruncationDraw) -> float:
    """What a truncation should cost, per task."""
    return len(draw.unlabelled_rows) * inner_step_cost(draw.base_model.sizes)


def imbalance(data: TaskDataModule, ranks: int, cohorts: int, independent: bool) -> float:
    """Mean over outer steps of the busiest rank's cost by the mean rank's."""
    total = ranks * cohorts
    sampler = sampler_of(data, total, independent)
    draws = truncations(sampler, total, TRUNCATIONS // total, independent)
    of_ranks = np.array([cost(draw) for draw in draws]).reshape(-1, ranks, cohorts).sum(axis=2)
    return float((of_ranks.max(axis=1) / of_ranks.mean(axis=1)).mean())


def correlation(module: MetaLightningModule, data: TaskDataModule, count: int) -> float:
    """Of the seconds that truncations take with their costs."""
    seconds, costs = [], []
    sampler = sampler_of(data, count, independent=True)
    for draw in truncations(sampler, 1, count + WARM_UP, independent=True):
        images = data._on_device[draw.source]
        batch = make_batch(draw.to(DEVICE), images, data.augmentation.max_shift)
        seconds.append(unroll_seconds(module, batch))
        costs.append(cost(draw))
    return float(np.corrcoef(seconds[WARM_UP:], costs[WARM_UP:])[0, 1])


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--config", type=Path, required=True)
    arguments.add_argument("--ranks", type=int, nargs="+", default=[2, 8, 32])
    arguments.add_argument("--timed", type=int, default=0)
    args = arguments.parse_args()
    module, data = instantiate(args.config)
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
