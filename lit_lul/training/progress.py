"""The progress bar: outer steps instead of epochs."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

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
