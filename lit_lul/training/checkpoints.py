"""Checkpoints of runs, written atomically, with a file of θ beside them."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lit_lul.constraints import PositiveInt, check_arguments
from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import replace_file
from lit_lul.files.hub import THETA
from lit_lul.files.tensors import check_shapes
from lit_lul.files.theta import Stored, check_settings, described, load_learner, save_learner
from lit_lul.training.loggers import run_folder
from lit_lul.training.preemption import Stopped


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, written atomically and read without unpickling objects."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint."""
        with replace_file(Path(path)) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # what torch raises for a full disk
                raise OSError(str(error).splitlines()[0]) from error

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, or from a file of θ what `validate` and `test` need of one.

        Raises:
            InvalidInput: when the file is missing, truncated, or neither of the two.
        """
        if Path(path).suffix != ".ckpt":
            learner = load_learner(path)
            theta = learner.state_dict()
            return {
                "state_dict": {f"learner.{name}": tensor for name, tensor in theta.items()},
                "learner": described(learner),
                "pytorch-lightning_version": lightning.__version__,
            }
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types for damaged files
            reason = str(error).splitlines()[0]
            raise InvalidInput(f"{path}: expected a checkpoint of a run ({reason})") from error
        if not isinstance(checkpoint, dict) or "learner" not in checkpoint:
            raise InvalidInput(f"{path}: expected a checkpoint of a run, which names its learner")
        return checkpoint


def settings_within(path: Path | str) -> Stored:
    """Class and settings of the learner in a checkpoint or a file of θ."""
    name, settings = AtomicCheckpointIO().load_checkpoint(path)["learner"]
    return name, settings


class RunCheckpoint(Checkpoint):
    """Saves the run and its θ at a fixed interval and at the end.

    Writes `last.ckpt`, `theta.safetensors` and the running mean of θ, `mean_theta.safetensors`,
    into the run's folder `checkpoints`.

    Args:
        every_n_outer_steps: outer steps between checkpoints.
        keep_every_n_outer_steps: outer steps between means of θ that are kept, as
            `mean_theta_STEP.safetensors`; null for none.
    """

    def __init__(
        self,
        every_n_outer_steps: PositiveInt = 100,
        keep_every_n_outer_steps: PositiveInt | None = None,
    ) -> None:
        check_arguments(RunCheckpoint.__init__, locals())
        self.every_n_outer_steps = every_n_outer_steps
        self.keep_every_n_outer_steps = keep_every_n_outer_steps
        self._saved_at = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree with all ranks on the folder, and delete incomplete files of a killed run."""
        self.folder = run_folder(trainer) / "checkpoints"
        if stage == "fit" and trainer.is_global_zero:
            for left in self.folder.glob(".*-last.ckpt"):
                left.unlink()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the outer step from which the run goes on."""
        self._outer_step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Save when due; only after the last truncation of an outer step."""
        step, keep = trainer.global_step, self.keep_every_n_outer_steps
        if step == self._outer_step:
            return
        self._outer_step = step
        if step % self.every_n_outer_steps == 0:
            self._save(trainer, pl_module)
        if keep is not None and step % keep == 0 and trainer.is_global_zero:
            self._save_mean(pl_module, f"mean_theta_{step:06}.safetensors")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save at the end of the run."""
        self._save(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save when a signal stops the run, which it does between outer steps."""
        if isinstance(exception, Stopped):
            self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step == self._saved_at:
            return
        self._saved_at = trainer.global_step
        trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)
        if trainer.is_global_zero:
            save_learner(pl_module.learner, self.folder / THETA)
            self._save_mean(pl_module, f"mean_{THETA}")
            (self.folder / THETA).with_suffix(".md").unlink(missing_ok=True)  # of an earlier θ

    def _save_mean(self, pl_module: Any, name: str) -> None:
        mean = pl_module.mean_theta
        if mean.steps > 0:
            save_learner(mean.learner_of(pl_module.learner), self.folder / name)


class StartFrom(Callback):
    """Starts a new run with the θ and optimizer state of another one.

    Tasks, schedules and rates are those of the new configuration, and cohorts are new. To resume a
    run, use `--ckpt_path`.

    Args:
        path: `last.ckpt` of the other run, or a file of θ.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Load θ, unless this run is itself resumed."""
        if trainer.global_step > 0:
            return
        checkpoint = AtomicCheckpointIO().load_checkpoint(self.path)
        check_settings(self.path, checkpoint["learner"], described(pl_module.learner))
        theta = {
            name.removeprefix("learner."): tensor
            for name, tensor in checkpoint["state_dict"].items()
            if name.startswith("learner.")
        }
        check_shapes(self.path, theta, pl_module.learner.state_dict())
        pl_module.learner.load_state_dict(theta)
        for optimizer, state in zip(
            trainer.optimizers, checkpoint.get("optimizer_states", []), strict=False
        ):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict(state | {"param_groups": groups})
