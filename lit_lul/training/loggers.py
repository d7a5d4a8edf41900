"""Where a run reports: its folder, a CSV log that survives resuming, the progress bar."""

import csv
import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import not_written, replace_file

LAST = Path("checkpoints", "last.ckpt")
"""The newest checkpoint within a run's folder."""


def versions(root: Path) -> list[int]:
    """Numbers of the runs below a root, in order."""
    names = (folder.name.removeprefix("version_") for folder in root.glob("version_*"))
    return sorted(int(name) for name in names if name.isdigit())


def last_run(root: Path) -> int:
    """The number of the newest run that has saved a checkpoint."""
    saved = [v for v in versions(root) if (root / f"version_{v}" / LAST).is_file()]
    if not saved:
        raise InvalidInput(f"--ckpt_path last: no checkpoint of a run under {root}")
    return saved[-1]


def claim_version(root: Path) -> int:
    """Create the folder of a new run and return its number; safe when runs start concurrently.

    Only rank 0 creates it; other ranks log to its folder.
    """
    version = max(versions(root), default=-1) + 1
    if getattr(rank_zero_only, "rank", None):
        return version
    with not_written(root):
        root.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                (root / f"version_{version}").mkdir()
            except FileExistsError:
                version += 1
            else:
                return version


EXTRAS = {"TensorBoardLogger": "tensorboard", "WandbLogger": "wandb"}
"""Ends of the names of loggers that need a package, with the extra that installs it."""


def check_installed(loggers: Iterable[str]) -> None:
    """Check that what loggers, by the names of their classes, need is installed."""
    for name in loggers:
        for logger, extra in EXTRAS.items():
            if name.endswith(logger) and find_spec(extra) is None:
                raise InvalidInput(
                    f"{name}: needs {extra}, install it: pip install 'lit-lul[{extra}]'"
                )


def run_folder(trainer: Trainer) -> Path:
    """The folder of a run, chosen by rank 0. All ranks must call it."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def log_metrics(trainer: Trainer, metrics: dict[str, float]) -> None:
    """Log metrics with all loggers at the current outer step, and flush them."""
    for logger in trainer.loggers:
        with not_written(logger.log_dir or logger.save_dir or logger.name):
            logger.log_metrics(metrics, trainer.global_step)
            logger.save()


class RunCSVLogger(CSVLogger):
    """Lightning's CSVLogger, except that a resumed run keeps its earlier rows."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of `metrics.csv`."""
        if self._experiment is None:
            self._experiment = _ResumingWriter(log_dir=self.log_dir)
        return self._experiment

    def save(self) -> None:
        """Append new rows to the file."""
        with not_written(Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE):
            super().save()


class _ResumingWriter(ExperimentWriter):
    """Appends to an existing file.

    Rows of the interrupted run from the first newly logged step on are dropped when that step is
    logged, not before.
    """

    _opened = False

    def _check_log_dir_exists(self) -> None:
        """Keep an existing file; Lightning's writer would delete it."""

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """Add a row, which `save` appends to the file."""
        if not self._opened and step is not None:
            self._drop_rows_from(step)
        self._opened = True
        super().log_metrics(metrics_dict, step)

    def _drop_rows_from(self, step: int) -> None:
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            self.metrics_keys: list[str] = list(reader.fieldnames or [])
            rows: list[dict[str, Any]] = [row for row in reader if _step(row) < step]
        with replace_file(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


def _step(row: dict[str, Any]) -> float:
    """The row's step; infinity, so that it is dropped, for a row truncated by a crash."""
    step = row.get("step") or ""
    return int(step) if step.isdigit() and None not in row.values() else float("inf")


class RunConfig(SaveConfigCallback):
    """Writes `config.yaml` into the run's folder, and passes its values to remote loggers.

    File loggers have `config.yaml` beside their logs; others, such as W&B, get every setting as a
    separate value, by which runs can be sorted and filtered.
    """

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Pass the configuration on as nested plain values."""
        config = json.loads(self.parser.dump(self.config, format="json", skip_none=False))
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger | TensorBoardLogger):
                logger.log_hyperparams(config)


SHOWN = {
    "train/meta_loss": "loss",
    "train/accuracy": "accuracy",
    "train/inner_steps_per_second": "inner steps/s",
    "train/memory_gib": "GiB",
    "train/hours_left": "hours left",
}
"""Short names of the metrics shown beside the bar."""


class OuterStepProgressBar(RichProgressBar):
    """Rich progress bar over the truncations of a run, labelled with the outer step."""

    @property
    def total_train_batches(self) -> int | float:
        """Truncations of the complete run."""
        return self.trainer.num_training_batches

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The metrics of `SHOWN`, by their short names."""
        items = super().get_metrics(trainer, pl_module)
        return {short: items[name] for name, short in SHOWN.items() if name in items}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Update the bar and its description."""
        super().on_train_batch_end(trainer, pl_module, *args)
        if self.progress is not None and self.train_progress_bar_id is not None:
            description = self._get_train_description(trainer.current_epoch)
            self.progress.update(self.train_progress_bar_id, description=description)

    def _get_train_description(self, current_epoch: int) -> str:
        total = f"/{self.trainer.max_steps}" if self.trainer.max_steps > 0 else ""
        return f"Outer step {self.trainer.global_step}{total}"
