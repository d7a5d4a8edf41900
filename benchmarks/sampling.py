"""Time the sampling of a cohort's truncation against the unroll that it feeds.

    python benchmarks/sampling.py --config configs/quickstart.yaml

Both run once per truncation of meta-training: drawing and making the batch (indices, images,
augmentation), and the unroll with its gradient. Truncations after a warm-up.
"""

import argparse
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from jsonargparse import ArgumentParser
from omegaconf import OmegaConf
from rich.console import Console

from lit_lul.estimators.truncated_backprop import unroll
from lit_lul.files.configs import load_config
from lit_lul.tasks.batch import UnrollBatch
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.module import MetaLightningModule

WARM_UP, COUNTED = 3, 15
DEVICE = torch.device("cpu")


def instantiate(config: Path) -> tuple[MetaLightningModule, TaskDataModule]:
    """The module and the data of a configuration."""
    values: Any = OmegaConf.to_container(load_config(config), resolve=True)
    parser = ArgumentParser()
    parser.add_class_arguments(MetaLightningModule, "model")
    parser.add_class_arguments(TaskDataModule, "data")
    parsed = parser.parse_object({key: values[key] for key in ("model", "data")})
    made = parser.instantiate(parsed)
    return made.model, made.data


def unroll_seconds(module: MetaLightningModule, batch: UnrollBatch) -> float:
    """Seconds of a truncation with the gradient of θ, from new φ."""
    phi = batch.base_model.init(batch.unlabelled.shape[1], torch.Generator().manual_seed(0))
    start = time.perf_counter()
    result = unroll(
        module.rule,
        module.objective,
        batch.base_model,
        phi,
        batch.unlabelled,
        batch.labelled,
        module.recompute,
    )
    torch.autograd.backward(result.loss.mean())
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--config", type=Path, required=True)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = arguments.parse_args()
    torch.set_num_threads(args.threads)
    module, data = instantiate(args.config)
    data.prepare_data()
    data.setup("fit")
    # the three things that the loader reads of a trainer
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, max_steps=-1)  # type: ignore[assignment]
    draws = iter(data.train_dataloader())
    sampling, unrolling = [], []
    for _ in range(WARM_UP + COUNTED):
        start = time.perf_counter()
        moved = data.transfer_batch_to_device(next(draws), DEVICE, 0)
        batch = data.on_after_batch_transfer(moved, 0)
        made = time.perf_counter()
        sampling.append(made - start)
        unrolling.append(unroll_seconds(module, batch))
    sample, run = sum(sampling[WARM_UP:]), sum(unrolling[WARM_UP:])
    Console(highlight=False).print(
        f"{args.config.name}, {args.threads} threads: sampling {median(sampling) * 1e3:.1f} ms, "
        f"unroll with gradient {median(unrolling) * 1e3:.1f} ms (medians); "
        f"of {COUNTED} truncations together {sample / run:.1%}"
    )


if __name__ == "__main__":
    main()
