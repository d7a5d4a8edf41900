"""The finished runs of a sweep of ablations, each with what is measured of its θ."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.held_out import HeldOut, describe
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.files.theta import load_learner
from lit_lul.networks.mlp import MLPs
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.stored_rows import Row, RowFile, rule_key
from lit_lul.sweep import FINISHED

HELD_OUT = HeldOut(
    inner_steps=60,
    points=1,
    batch_size=32,
    tests_per_class=20,
    draws=16,
)
"""Digits, which meta-training never sees, with the network of the runs."""
HIDDEN_LAYERS, HIDDEN_UNITS = (1, 1), (32, 32)


@dataclass(frozen=True)
class AblationRun:
    """One finished run.

    Attributes:
        variant: the name of what is changed.
        seed: the run's seed.
        folder: θ, configuration and log.
        outer_steps: their number.
        validation: accuracy on held-out characters as the run sees them.
        seconds: wall-clock time of the run.
    """

    variant: str
    seed: int
    folder: Path
    outer_steps: int
    validation: float
    seconds: float

    @property
    def name(self) -> str:
        """Variant and seed."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def largest_gradient(self) -> float:
        """The largest norm of an outer step's gradient, before it is clipped."""
        with (self.folder / "metrics.csv").open(newline="") as file:
            norms = [row.get("train/gradient_norm") for row in csv.DictReader(file)]
        return max((float(norm) for norm in norms if norm), default=0.0)

    def held_out(self) -> HeldOut:
        """The held-out digits, with networks that have batch norm if those of the run do."""
        config = OmegaConf.load(self.folder / "config.yaml")
        batch_norm = OmegaConf.select(config, "data.networks.init_args.batch_norm", default=True)
        networks = MLPs(HIDDEN_LAYERS, HIDDEN_UNITS, batch_norm=bool(batch_norm))
        return HeldOut(**{**vars(HELD_OUT), "networks": networks})


def find_runs(folders: Sequence[str]) -> list[AblationRun]:
    """Finished runs below the folders of sweeps, the first of each variant and seed.

    Raises:
        InvalidInput: when there is none, or a run is not one of ablations.
    """
    found: dict[str, AblationRun] = {}
    for path in (p for folder in folders for p in sorted(Path(folder).glob(f"*/{FINISHED}"))):
        content: dict[str, Any] = json.loads(path.read_text())
        try:
            run = AblationRun(
                Path(content["values"]["config"]).stem,
                int(content["values"]["seed_everything"]),
                path.parent / content["folder"],
                int(content["metrics"]["step"]),
                content["metrics"]["val/accuracy"],
                content["seconds"],
            )
        except KeyError as error:
            raise InvalidInput(f"{path}: expected a run with {error}") from error
        found.setdefault(run.name, run)
    if not found:
        raise InvalidInput(f"--runs {' '.join(folders)}: expected finished runs of a sweep")
    return list(found.values())


def measure_run(run: AblationRun, data: HeldOutData, file: RowFile[Row]) -> Row:
    """Accuracy before and after inner steps, and the mean |correlation| of the embedding's units.

    What the file has is not measured again. The correlation is that of the first draw's query.

    Raises:
        InvalidInput: when θ is missing or the file cannot be written.
    """
    rule, held_out = load_learner(run.folder / "checkpoints" / "theta.safetensors"), run.held_out()
    protocol = {"held_out": held_out.describe(), "ridge": describe(FewShotRidge())}
    key = rule_key(protocol, "float32", rule)
    if (stored := file.select({run.name: key})) is not None:
        return stored[run.name]
    found = roll_out_draws(rule, FewShotRidge(), data, held_out, range(held_out.draws))
    row = Row(
        key,
        list(held_out.probe_steps),
        {
            "ridge": found.accuracy[0].tolist(),
            "correlation": [[mean_correlation(found.embedding)]],
        },
    )
    file.keep(run.name, row, protocol)
    return row


def mean_correlation(embedding: torch.Tensor) -> float:
    """Mean |correlation| of pairs of units of an embedding (K, E); 0 where one is constant."""
    correlation = torch.corrcoef(embedding.double().T).nan_to_num()
    units = len(correlation)
    total = correlation.abs().sum() - correlation.diagonal().abs().sum()
    return float(total / (units * (units - 1)))
