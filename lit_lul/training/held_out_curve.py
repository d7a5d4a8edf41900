"""The callback that measures one held-out curve during meta-training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from matplotlib.figure import Figure

from lit_lul.evaluation.curve import Curve, Rollouts, roll_out_draws
from lit_lul.evaluation.curve_files import COLUMNS, curve_rows, summarise, write_csv, write_json
from lit_lul.evaluation.held_out import HeldOut, describe
from lit_lul.evaluation.pictures import draw_curves, draw_embedding, draw_receptive_fields
from lit_lul.evaluation.probes import ridge_of
from lit_lul.files.theta import described
from lit_lul.learners.learner import Learner
from lit_lul.training.loggers import log_metrics, run_folder
from lit_lul.training.media import embedding_rows, show_figure, show_table

UNTRAINED_SEED = 0


class HeldOutCurve(Callback):
    """Callback that measures few-shot accuracy against inner steps: metrics, files, media.

    Trains new networks with the current θ before the first outer step, every
    `held_out.every_n_outer_steps`, at the end, and in `validate` and `test`. The same draws with
    newly initialised θ give the curve of the untrained learner, which is measured once and kept in
    the checkpoint. Ranks share the draws.

    Args:
        name: prefix of files and metrics.
        held_out: data, network, protocol and sizes.
        data_root: folder that is searched for datasets first.
    """

    def __init__(self, name: str, held_out: HeldOut, data_root: str | None = None) -> None:
        self.name, self.held_out, self.data_root = name, held_out, data_root
        self.curves: dict[int, dict[str, Curve]] = {}
        self.untrained: dict[str, Curve] = {}
        self._untrained_of = ""
        """Learner and ridge that `untrained` was measured with."""

    @property
    def state_key(self) -> str:
        """Key of this curve's state in the checkpoint."""
        return f"{type(self).__name__}:{self.name}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load and check the data, and agree with all ranks on the folder.

        All ranks load at once; the cache's lock lets one process per machine decode.

        Raises:
            InvalidInput: when the data are missing, or a class has too few examples.
        """
        self.folder = run_folder(trainer)
        self.data = self.held_out.load(self.data_root)
        self.data.sample_rows(
            self.held_out.labels_per_class, self.held_out.tests_per_class, np.random.default_rng()
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the untrained learner and the initial θ."""
        self._measure_untrained(trainer, pl_module)
        if trainer.global_step == 0:
            self._measure(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Measure when due."""
        if trainer.global_step % self.held_out.every_n_outer_steps == 0:
            self._measure(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure at the end of the run."""
        self._measure(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure in `validate` and `test`, but not in the validation of a fit."""
        if trainer.state.fn != TrainerFn.FITTING:
            self._measure_untrained(trainer, pl_module)
            self.curves = {}
            self._measure(trainer, pl_module)

    on_test_epoch_end = on_validation_epoch_end

    def state_dict(self) -> dict[str, Any]:
        """The curves so far, and the settings that they were measured with."""
        return {
            "held_out": json.dumps(self.held_out.describe()),
            "curves": {step: _plain(curves) for step, curves in self.curves.items()},
            "untrained": _plain(self.untrained),
            "untrained_of": self._untrained_of,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the curves of a checkpoint if they were measured with the same settings."""
        if state_dict.get("held_out") == json.dumps(self.held_out.describe()):
            self.curves = {step: _curves(c) for step, c in state_dict["curves"].items()}
            self.untrained = _curves(state_dict["untrained"])
            self._untrained_of = state_dict["untrained_of"]

    def file(self, suffix: str) -> Path:
        """The path of a file of this curve."""
        return self.folder / f"{self.name}_{suffix}"

    def numbers(self) -> str:
        """A printable summary of the latest curves."""
        last = self.curves[max(self.curves)]
        return summarise(self.name, self.held_out, self.untrained, last)

    def summary(self) -> str:
        """A printable summary of the latest curves, and the paths of their files."""
        return "\n".join(
            [
                self.numbers(),
                f"curve    {self.file('curve.csv')}",
                f"picture  {self.file('curve.png')}",
            ]
        )

    def _measure_untrained(self, trainer: Trainer, pl_module: Any) -> None:
        ridge = describe(ridge_of(pl_module.objective))
        now = json.dumps([described(pl_module.learner), ridge])
        if self._untrained_of == now:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            untrained = pl_module.make_learner()
        self.untrained, _ = self._roll_out(trainer, pl_module, untrained)
        self._untrained_of = now

    def _roll_out(
        self, trainer: Trainer, pl_module: Any, learner: Learner
    ) -> tuple[dict[str, Curve], Rollouts]:
        """Curves over all draws by probe, and this rank's rollouts."""
        numbers = range(self.held_out.draws)
        mine = numbers[trainer.global_rank :: trainer.world_size]
        some = mine or numbers[:1]  # of more ranks than draws, some have none that counts
        with trainer.precision_plugin.forward_context():
            rollouts = roll_out_draws(learner, pl_module.objective, self.data, self.held_out, some)
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
        self.curves[outer_step], rollouts = self._roll_out(trainer, pl_module, pl_module.learner)
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
        write_csv(self.file("curve.csv"), self.held_out, self.untrained, self.curves)
        write_json(self.file("curve.json"), self.held_out, self.untrained, self.curves)
        figures = {"curve": self._draw_first_probe()}
        if self.data.image_shape is not None and rollouts.first_layer is not None:
            fields = draw_receptive_fields(rollouts.first_layer, self.data.image_shape)
            figures["receptive_fields"] = fields
        figures["embedding"] = draw_embedding(rollouts.embedding, rollouts.labels)
        for what, figure in figures.items():
            show_figure(trainer, f"{self.name}/{what}", figure, self.file(f"{what}.png"))
        rows = curve_rows(self.held_out, self.untrained, self.curves)
        show_table(trainer, f"{self.name}/curve_table", COLUMNS, rows)
        columns, rows = embedding_rows(rollouts.embedding, rollouts.labels)
        show_table(trainer, f"{self.name}/embedding_table", columns, rows)

    def _draw_first_probe(self) -> Figure:
        probe, held_out = self.held_out.probes[0], self.held_out
        by_outer_step = {step: curves[probe] for step, curves in self.curves.items()}
        title = (
            f"Held-out {self.name}, {held_out.protocol}: "
            f"{held_out.labels_per_class} labels per class, {probe}"
        )
        return draw_curves(title, self.untrained[probe], by_outer_step)


def _plain(curves: dict[str, Curve]) -> dict[str, dict[str, Any]]:
    return {probe: vars(curve) for probe, curve in curves.items()}


def _curves(plain: dict[str, dict[str, Any]]) -> dict[str, Curve]:
    return {probe: Curve(**curve) for probe, curve in plain.items()}
