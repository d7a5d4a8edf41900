"""W&B: runs that continue when they are resumed, and rules as artifacts with lineage."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from lit_lul.files.atomic import replace_file
from lit_lul.files.hub import CARD, THETA
from lit_lul.files.theta import rule_path

RUN_ID = "wandb_run_id.txt"
"""The file in a run's folder that holds the ID of its W&B run."""


class RunWandbLogger(WandbLogger):
    """Lightning's WandbLogger, except that a resumed run goes on as the same W&B run."""

    run_folder: Path | None = None
    """The run's folder, where the ID of the W&B run is kept; None to keep none."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run, the one whose ID is in the run's folder, if there is one."""
        if self._experiment is not None or self.run_folder is None:
            return super().experiment
        file = self.run_folder / RUN_ID
        if file.is_file():
            self._wandb_init["id"] = file.read_text().strip()
        run: Any = super().experiment
        if not run.disabled:
            with replace_file(file) as temporary:
                temporary.write_text(f"{run.id}\n")
        return run

    def log_rule(self, theta: Path, card: Path, metadata: dict[str, Any]) -> None:
        """Log θ and its card as a new version of the run's artifact, of type model."""
        if not self.experiment.disabled:
            name = f"rule-{self.experiment.id}"
            artifact = _artifact(name, {THETA: theta, CARD: card}, metadata)
            self.experiment.log_artifact(artifact)

    def use_rule(self, source: Path | str) -> None:
        """Record that this run uses a rule: a name, file or reference as for `load_rule`.

        To W&B, a file of another run is that run's artifact if it has the same content. Of a
        checkpoint, it is the θ beside it.
        """
        if self.experiment.disabled:
            return
        path = Path(source)
        theta = path.with_name(THETA) if path.suffix == ".ckpt" else rule_path(source)
        id_file = theta.parent.parent / RUN_ID
        own = path.stem if path.is_file() else str(source)
        name = id_file.read_text().strip() if id_file.is_file() else own
        files = {THETA: theta, CARD: theta.with_suffix(".md")}
        if not theta.is_file():
            files = {path.name: path}
        name = re.sub("[^A-Za-z0-9_.-]+", "-", f"rule-{name}")
        artifact = _artifact(name, files, {"source": str(source)})
        # `use_artifact` does this too, but refuses to offline, although it can be synced later
        self.experiment._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def keep_run_ids(loggers: Sequence[Logger]) -> None:
    """Have W&B's loggers keep the IDs of their runs in the folder of the file loggers."""
    files = [log for log in loggers if isinstance(log, CSVLogger | TensorBoardLogger)]
    for logger in loggers:
        if isinstance(logger, RunWandbLogger) and files:
            logger.run_folder = Path(files[0].log_dir)


def _artifact(name: str, files: dict[str, Path], metadata: dict[str, Any]) -> Any:
    """An artifact of the files that exist, by their names in it."""
    import wandb

    artifact = wandb.Artifact(name, type="model", metadata=metadata)
    for inside, file in files.items():
        if file.is_file():
            artifact.add_file(str(file), inside)
    return artifact
