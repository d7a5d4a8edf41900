"""What a run is logged to: a CSV log that survives resuming; loggers that take its settings."""

import csv
import json
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lit_lul.files.atomic import not_written, replace_file


def run_folder(trainer: Trainer) -> Path:
    """Where a run writes: rank 0's choice. All ranks call it together."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def log_metrics(trainer: Trainer, metrics: dict[str, float]) -> None:
    """Hand metrics to all loggers at once, at the outer step, and have them written.

    Raises:
        InvalidInput: when a log cannot be written.
    """
    for logger in trainer.loggers:
        with not_written(logger.log_dir or logger.save_dir or logger.name):
            logger.log_metrics(metrics, trainer.global_step)
            logger.save()


class RunCSVLogger(CSVLogger):
    """Lightning's CSVLogger, but a run that is resumed keeps the rows it goes on from."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of `metrics.csv`."""
        if self._experiment is None:
            self._experiment = _GoingOnWriter(log_dir=self.log_dir)
        return self._experiment

    def save(self) -> None:
        """Append new rows to the file.

        Raises:
            InvalidInput: when it cannot be written.
        """
        with not_written(Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE):
            super().save()


class _GoingOnWriter(ExperimentWriter):
    """Appends to the file that is there.

    Rows at and after the first step that is logged were written by a run that this one replaces:
    they are dropped then, and not before.
    """

    _opened = False

    def _check_log_dir_exists(self) -> None:
        """Leave an existing file alone, where Lightning's writer deletes it."""

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
    """The row's step; of a row cut short by a crash, one that no run keeps."""
    step = row.get("step") or ""
    return int(step) if step.isdigit() and None not in row.values() else float("inf")


class RunConfig(SaveConfigCallback):
    """Writes `config.yaml` into the run's folder, and hands its values to all other loggers.

    Loggers of files have `config.yaml` beside them; the others, W&B and the like, get every setting
    as a value of its own, to sort and filter runs by.
    """

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the configuration over, as nested plain values."""
        config = json.loads(self.parser.dump(self.config, format="json", skip_none=False))
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger | TensorBoardLogger):
                logger.log_hyperparams(config)
