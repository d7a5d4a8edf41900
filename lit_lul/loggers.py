"""The CSV log of a run, which goes on where a resumed run does."""

import csv
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger


class RunCSVLogger(CSVLogger):
    """Lightning's CSVLogger, but a run that is resumed keeps the rows it goes on from.

    Rows at and after the first step that the resumed run logs were written by the run it replaces,
    and are dropped.
    """

    _earlier: list[dict[str, Any]] | None = None

    @property
    def experiment(self) -> Any:
        """The writer; opening it would delete an existing file, so its rows are read first."""
        if self._experiment is None:
            self._earlier = _rows(Path(self.log_dir) / "metrics.csv")
            with warnings.catch_warnings():  # of deleting what was just read
                warnings.filterwarnings("ignore", "Experiment logs directory")
                return super().experiment
        return super().experiment

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row."""
        writer = self.experiment
        if self._earlier and step is not None:
            writer.metrics = [row for row in self._earlier if int(row["step"]) < step]
        self._earlier = None
        super().log_metrics(metrics, step)


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            {name: value for name, value in row.items() if value}
            for row in csv.DictReader(file)
            if (row.get("step") or "").isdigit()
        ]
