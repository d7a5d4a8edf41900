"""Time of sampling a truncation, compared with its unroll.

    python benchmarks/sampling.py --config configs/quickstart.yaml

Every truncation of meta-training is sampled (indices, images, transforms) and then unrolled with
the gradient of θ. Both are timed after a warm-up.
"""

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from jsonargparse import ArgumentParser
from omegaconf import OmegaConf
from rich.console import Console

from lit_lul.estimators.estimator import Truncation
from lit_lul.files.configs import load_config
from lit_lul.tasks.plan import Plan
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.module import MetaLightningModule
from lit_lul.training.truncations import Needs, realise

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


def truncation_of(plan: Plan) -> Truncation:
    """The tensors of a plan, with the inputs of all inner steps."""
    truncation = realise(plan.to(DEVICE), Needs(DEVICE, torch.float32))
    return Truncation(**vars(truncation) | {"batches": list(truncation.batches)})


def unroll_seconds(module: MetaLightningModule, truncation: Truncation) -> float:
    """Seconds of a truncation of new tasks, with the gradient of θ."""
    start = time.perf_counter()
    module.estimator(module.learner, module.objective, None, truncation)
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
    module.learner.prepare(module.compile_learner)
    plans = iter(data.stream(data.training, seed=data.seed))
    sampling, unrolling = [], []
    for _ in range(WARM_UP + COUNTED):
        start = time.perf_counter()
        truncation = truncation_of(next(plans))
        made = time.perf_counter()
        sampling.append(made - start)
        unrolling.append(unroll_seconds(module, truncation))
    sample, run = sum(sampling[WARM_UP:]), sum(unrolling[WARM_UP:])
    Console(highlight=False).print(
        f"{args.config.name}, {args.threads} threads: sampling {median(sampling) * 1e3:.1f} ms, "
        f"unroll with gradient {median(unrolling) * 1e3:.1f} ms (medians); "
        f"of {COUNTED} truncations together {sample / run:.1%}"
    )


if __name__ == "__main__":
    main()
