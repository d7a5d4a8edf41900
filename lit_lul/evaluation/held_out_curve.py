"""The callback that measures one held-out curve while a rule is meta-trained."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from matplotlib.figure import Figure

from lit_lul.evaluation.curve import Curve, Rollouts, roll_out_draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.picture import draw_curves, draw_embedding, draw_receptive_fields
from lit_lul.files.atomic import replace_file
from lit_lul.learners.update_rule import UnsupervisedUpdate
from lit_lul.training.loggers import log_metrics, run_folder

UNTRAINED_SEED = 0


class HeldOutCurve(Callback):
    """Few-shot accuracy against inner steps, as metrics, CSV, JSON and pictures.

    Rolls fresh base models forward with the current θ: before the first outer step, every so many
    outer steps, at the end, and in `validate` and `test`. The same draws, with the rule as it is
    initialised, give the curve of the untrained rule. Ranks share the draws out.

    Args:
        name: what files and metrics are called.
        held_out: the data, the base model, and when and how it is probed.
        data_root: folder that is searched for datasets first.
    """

    def __init__(self, name: str, held_out: HeldOut, data_root: str | None = None) -> None:
        self.name, self.held_out, self.data_root = name, held_out, data_root
        self.curves: dict[int, dict[str, Curve]] = {}
        self.untrained: dict[str, Curve] = {}

    @property
    def state_key(self) -> str:
        """One state in the checkpoint for each named curve."""
        return f"{type(self).__name__}:{self.name}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the data, check that there are enough, and agree with all ranks on the folder.

        Raises:
            InvalidInput: when they cannot be had, or a class has too few examples.
        """
        self.folder = run_folder(trainer)
        self.data = self.held_out.load(self.data_root)
        self.data.sample_rows(
            self.held_out.labels_per_class, self.held_out.tests_per_class, np.random.default_rng()
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the untrained rule, and the start."""
        self._measure_untrained(trainer, pl_module)
        if trainer.global_step == 0:
            self._measure(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Measure when it is time."""
        if trainer.global_step % self.held_out.every_n_outer_steps == 0:
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
        return {
            "curves": {
                step: {probe: vars(curve) for probe, curve in curves.items()}
                for step, curves in self.curves.items()
            }
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the curves so far, if they were probed as this run's are."""
        as_now = dict.fromkeys(self.held_out.probes, self.held_out.probe_steps)
        for outer_step, curves in state_dict["curves"].items():
            if {probe: curve["steps"] for probe, curve in curves.items()} == as_now:
                self.curves[outer_step] = {p: Curve(**curve) for p, curve in curves.items()}

    def file(self, suffix: str) -> Path:
        """Where a file of this curve lies."""
        return self.folder / f"{self.name}_{suffix}"

    def summary(self) -> str:
        """What the last curves show, and where they lie, for a person to read."""
        draws, labels = self.held_out.draws, self.held_out.labels_per_class
        lines = [f"Held-out {self.name}, {labels} labels per class, {draws} draws:"]
        for probe, curve in self.curves[max(self.curves)].items():
            rows = {
                "before the rule": (curve, 0),
                f"after {curve.steps[-1]} inner steps": (curve, -1),
                "untrained rule": (self.untrained[probe], -1),
            }
            lines += [
                f"  {name:<24}{c.mean[i]:.1%} ± {c.standard_error[i]:.1%}  {probe}"
                for name, (c, i) in rows.items()
            ]
        lines.append(f"curve    {self.file('curve.csv')}")
        lines.append(f"picture  {self.file('curve.png')}")
        return "\n".join(lines)

    def _measure_untrained(self, trainer: Trainer, pl_module: Any) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            rule = pl_module.make_rule().to(pl_module.device)
        self.untrained, _ = self._curves(trainer, pl_module, rule)

    def _measure_once(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure_untrained(trainer, pl_module)
        self.curves = {}
        self._measure(trainer, pl_module)

    def _curves(
        self, trainer: Trainer, pl_module: Any, rule: UnsupervisedUpdate
    ) -> tuple[dict[str, Curve], Rollouts]:
        """Curves over all draws by probe, and this rank's rollouts."""
        numbers = range(self.held_out.draws)
        mine = numbers[trainer.global_rank :: trainer.world_size]
        some = mine or numbers[:1]  # of more ranks than draws, some have none that counts
        with trainer.precision_plugin.forward_context():
            rollouts = roll_out_draws(rule, pl_module.objective, self.data, self.held_out, some)
        shape = (*rollouts.accuracy.shape[:2], len(numbers))
        accuracy = torch.zeros(shape, dtype=torch.float64, device=pl_module.device)
        accuracy[..., list(mine)] = rollouts.accuracy.to(pl_module.device)
        accuracy = trainer.strategy.reduce(accuracy, reduce_op="sum").cpu()
        steps = self.held_out.probe_steps
        curves: dict[str, Curve] = {
            probe: Curve.of(steps, a)
            for probe, a in zip(self.held_out.probes, accuracy, strict=True)
        }
        return curves, rollouts

    def _measure(self, trainer: Trainer, pl_module: Any) -> None:
        outer_step = trainer.global_step
        if outer_step in self.curves:
            return
        self.curves[outer_step], rollouts = self._curves(trainer, pl_module, pl_module.rule)
        if not trainer.is_global_zero:
            return
        metrics = {
            f"{self.name}/{probe}_at_{step}": mean
            for probe, curve in self.curves[outer_step].items()
            for step, mean in zip(curve.steps, curve.mean, strict=True)
        } | {
            f"{self.name}/{probe}_standard_error": curve.standard_error[-1]
            for probe, curve in self.curves[outer_step].items()
        }
        log_metrics(trainer, metrics)
        self._write_numbers()
        self._show(trainer, "curve", self._draw_first_probe())
        if self.data.image_shape is not None:
            figure = draw_receptive_fields(rollouts.first_layer, self.data.image_shape)
            self._show(trainer, "receptive_fields", figure)
        figure = draw_embedding(rollouts.embedding, rollouts.labels)
        self._show(trainer, "embedding", figure)

    def _draw_first_probe(self) -> Figure:
        probe = self.held_out.probes[0]
        by_outer_step = {step: curves[probe] for step, curves in self.curves.items()}
        title = f"Held-out {self.name}: {self.held_out.labels_per_class} labels per class, {probe}"
        return draw_curves(title, self.untrained[probe], by_outer_step)

    def _show(self, trainer: Trainer, what: str, figure: Figure) -> None:
        """Write a picture, and hand it to the loggers that take pictures."""
        picture = self.file(f"{what}.png")
        with replace_file(picture) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(f"{self.name}/{what}", figure, trainer.global_step)
            elif isinstance(logger, WandbLogger):
                logger.log_image(f"{self.name}/{what}", [str(picture)], step=trainer.global_step)

    def _write_numbers(self) -> None:
        with (
            replace_file(self.file("curve.csv")) as temporary,
            temporary.open("w", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["outer_step", "probe", "inner_step", "accuracy", "standard_error"])
            for outer_step, curves in [("untrained", self.untrained), *sorted(self.curves.items())]:
                for probe, curve in curves.items():
                    for row in zip(curve.steps, curve.mean, curve.standard_error, strict=True):
                        writer.writerow([outer_step, probe, *row])
        last = max(self.curves)
        numbers = {
            "draws": self.held_out.draws,
            "labels_per_class": self.held_out.labels_per_class,
            "outer_step": last,
            "trained": {probe: vars(curve) for probe, curve in self.curves[last].items()},
            "untrained": {probe: vars(curve) for probe, curve in self.untrained.items()},
        }
        with replace_file(self.file("curve.json")) as temporary:
            temporary.write_text(json.dumps(numbers, indent=1))
