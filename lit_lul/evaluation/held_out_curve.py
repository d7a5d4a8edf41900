"""The callback that measures held-out curves while a rule is meta-trained."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn

from lit_lul.atomic import replace_file
from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import Curve, Protocol, measure_curve, probe_steps
from lit_lul.evaluation.held_out_data import digits
from lit_lul.evaluation.picture import draw_curves
from lit_lul.rules import UnsupervisedUpdate

NAME = "digits"
UNTRAINED_SEED = 0


class HeldOutCurve(Callback):
    """Few-shot accuracy on scikit-learn's digits against inner steps, as metrics, CSV and picture.

    Rolls fresh base models forward with the current θ: before the first outer step, every so many
    outer steps, at the end, and in `validate` and `test`. The same draws, with the rule as it is
    initialised, give the curve of the untrained rule.

    Args:
        every_n_outer_steps: how often, in outer steps.
        hidden_units: units of the base model's hidden layers; the embedding comes on top.
        activation: its nonlinearity.
        inner_steps: inner steps of the rollout.
        probes: probes after step 0, evenly spread.
        batch_size: B, unlabelled examples per inner step.
        labels_per_class: labelled examples of each class (10 in section 5.3).
        draws: fresh base models, each with inputs permuted and labels drawn anew.
        seed: determines the draws.

    Raises:
        InvalidInput: for a number too small.
    """

    def __init__(
        self,
        every_n_outer_steps: int = 100,
        hidden_units: list[int] = [128, 128, 128, 128],
        activation: str = "relu",
        inner_steps: int = 100,
        probes: int = 10,
        batch_size: int = 128,
        labels_per_class: int = 10,
        draws: int = 10,
        seed: int = 0,
    ) -> None:
        least = {
            "every_n_outer_steps": (every_n_outer_steps, 1),
            "inner_steps": (inner_steps, 1),
            "probes": (probes, 1),
            "batch_size": (batch_size, 1),
            "draws": (draws, 2),
        }
        for name, (value, smallest) in least.items():
            if value < smallest:
                raise InvalidInput(f"held-out curve {name} {value}: expected {smallest} or more")
        self.every_n_outer_steps = every_n_outer_steps
        self.protocol = Protocol(
            tuple(hidden_units),
            activation,
            probe_steps(inner_steps, probes),
            batch_size,
            labels_per_class,
            draws,
            seed,
        )
        self.data = digits()
        self.data.sample_labelled(labels_per_class, 1, np.random.default_rng(seed))
        self.curves: dict[int, Curve] = {}
        self.untrained = Curve((), (), ())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the untrained rule, and the start."""
        self._measure_untrained(pl_module)
        if trainer.global_step == 0:
            self._measure(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Measure when it is time."""
        if trainer.global_step % self.every_n_outer_steps == 0:
            self._measure(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure where the run ends."""
        self._measure(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, where it is not within a fit."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._measure_once(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure."""
        self._measure_once(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The curves so far."""
        return {"curves": {step: vars(curve) for step, curve in self.curves.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the curves so far, if they were measured as this run's are."""
        curves = {step: Curve(**curve) for step, curve in state_dict["curves"].items()}
        self.curves = {s: c for s, c in curves.items() if c.steps == self.protocol.probe_steps}

    def files(self, trainer: Trainer) -> tuple[Path, Path]:
        """Where the curves lie as numbers and as a picture."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        return folder / f"{NAME}_curve.csv", folder / f"{NAME}_curve.png"

    def summary(self, trainer: Trainer) -> str:
        """What the last curve shows, and where it lies, for a person to read."""
        curve = self.curves[max(self.curves)]
        rows = {
            "before the rule": (curve, 0),
            f"after {curve.steps[-1]} inner steps": (curve, -1),
            "untrained rule": (self.untrained, -1),
        }
        head = f"{self.protocol.labels_per_class} labels per class, {self.protocol.draws} draws:"
        numbers, picture = self.files(trainer)
        return "\n".join(
            [
                f"Held-out {NAME}, {head}",
                *(
                    f"  {name:<24}{c.mean[i]:.1%} ± {c.standard_error[i]:.1%}"
                    for name, (c, i) in rows.items()
                ),
                f"curve    {numbers}",
                f"picture  {picture}",
            ]
        )

    def _measure_untrained(self, pl_module: Any) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            rule = UnsupervisedUpdate(pl_module.rule.settings).to(pl_module.device)
        self.untrained = measure_curve(rule, pl_module.objective, self.data, self.protocol)

    def _measure_once(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure_untrained(pl_module)
        self.curves = {}
        self._measure(trainer, pl_module)

    def _measure(self, trainer: Trainer, pl_module: Any) -> None:
        outer_step = trainer.global_step
        if outer_step in self.curves:
            return
        curve = measure_curve(pl_module.rule, pl_module.objective, self.data, self.protocol)
        self.curves[outer_step] = curve
        if not trainer.is_global_zero:
            return
        metrics = {
            f"{NAME}/accuracy_at_{step}": mean
            for step, mean in zip(curve.steps, curve.mean, strict=True)
        }
        metrics[f"{NAME}/standard_error"] = curve.standard_error[-1]
        for logger in trainer.loggers:
            logger.log_metrics(metrics, outer_step)
        self._write(trainer, outer_step)

    def _write(self, trainer: Trainer, outer_step: int) -> None:
        numbers, picture = self.files(trainer)
        with replace_file(numbers) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["outer_step", "inner_step", "accuracy", "standard_error"])
            for name, curve in [("untrained", self.untrained), *sorted(self.curves.items())]:
                for row in zip(curve.steps, curve.mean, curve.standard_error, strict=True):
                    writer.writerow([name, *row])
        labels = self.protocol.labels_per_class
        figure = draw_curves(
            f"Held-out {NAME}: {labels} labels per class", self.untrained, self.curves
        )
        with replace_file(picture) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(f"{NAME}/curve", figure, outer_step)
            elif isinstance(logger, WandbLogger):
                logger.log_image(f"{NAME}/curve", [str(picture)], step=outer_step)
