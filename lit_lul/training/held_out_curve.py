"""The callback that measures one held-out curve during meta-training."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from matplotlib.figure import Figure
from PIL import Image

from lit_lul.evaluation.curve import Curve, Rollouts, roll_out_draws
from lit_lul.evaluation.held_out import HeldOut, describe
from lit_lul.evaluation.pictures import draw_curves, draw_embedding, draw_receptive_fields
from lit_lul.evaluation.probes import ridge_of
from lit_lul.files.atomic import replace_file
from lit_lul.files.theta import described
from lit_lul.learners.learner import Learner
from lit_lul.training.loggers import log_metrics, run_folder

INITIAL_SEED = 0
COLUMNS = ["outer_step", "probe", "protocol", "inner_step", "accuracy", "standard_error"]


class HeldOutCurve(Callback):
    """Callback that measures few-shot accuracy against inner steps: metrics, files, media.

    Trains new networks with the current θ before the first outer step, every
    `held_out.every_n_outer_steps`, at the end, and in `validate` and `test`. The same draws with
    initial θ give a curve of their own, which is measured once and kept in the checkpoint. Ranks
    share the draws.

    Args:
        name: prefix of files and metrics.
        held_out: data, network, protocol and sizes.
        data_root: folder that is searched for datasets first.
    """

    def __init__(self, name: str, held_out: HeldOut, data_root: str | None = None) -> None:
        self.name, self.held_out, self.data_root = name, held_out, data_root
        self.curves: dict[int, dict[str, Curve]] = {}
        self.initial: dict[str, Curve] = {}
        self._initial_of = ""
        """Learner and ridge that `initial` was measured with."""

    @property
    def state_key(self) -> str:
        """Key of this curve's state in the checkpoint."""
        return f"{type(self).__name__}:{self.name}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load and check the data, and agree with all ranks on the folder.

        All ranks load at once; the cache's lock lets one process per machine decode.
        """
        self.folder = run_folder(trainer)
        self.data = self.held_out.load(self.data_root)
        self.data.sample_rows(
            self.held_out.labels_per_class, self.held_out.tests_per_class, np.random.default_rng()
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure initial θ and the θ of the start."""
        self._measure_initial(trainer, pl_module)
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
            self._measure_initial(trainer, pl_module)
            self.curves = {}
            self._measure(trainer, pl_module)

    on_test_epoch_end = on_validation_epoch_end

    def state_dict(self) -> dict[str, Any]:
        """The curves so far, and the settings that they were measured with."""
        return {
            "held_out": json.dumps(self.held_out.describe()),
            "curves": {step: _plain(curves) for step, curves in self.curves.items()},
            "initial": _plain(self.initial),
            "initial_of": self._initial_of,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the curves of a checkpoint if they were measured with the same settings."""
        if state_dict.get("held_out") == json.dumps(self.held_out.describe()):
            self.curves = {step: _curves(c) for step, c in state_dict["curves"].items()}
            self.initial = _curves(state_dict["initial"])
            self._initial_of = state_dict["initial_of"]

    def file(self, suffix: str) -> Path:
        """The path of a file of this curve."""
        return self.folder / f"{self.name}_{suffix}"

    def numbers(self) -> str:
        """A printable summary of the latest curves."""
        held_out = self.held_out
        lines = [
            f"Held-out {self.name}, {held_out.protocol}, {held_out.labels_per_class} labels per "
            f"class, {held_out.draws} draws:"
        ]
        for probe, curve in self.curves[max(self.curves)].items():
            rows = {
                "before the inner loop": (curve, 0),
                f"after {curve.steps[-1]} inner steps": (curve, -1),
                "initial θ": (self.initial[probe], -1),
            }
            lines += [
                f"  {row:<24}{c.mean[i]:.1%} ± {c.standard_error[i]:.1%}  {probe}"
                for row, (c, i) in rows.items()
            ]
        return "\n".join(lines)

    def summary(self) -> str:
        """A printable summary of the latest curves, and the paths of their files."""
        csv, png = self.file("curve.csv"), self.file("curve.png")
        return f"{self.numbers()}\ncurve    {csv}\npicture  {png}"

    def _measure_initial(self, trainer: Trainer, pl_module: Any) -> None:
        ridge = describe(ridge_of(pl_module.objective))
        now = json.dumps([described(pl_module.learner), ridge])
        if self._initial_of == now:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(INITIAL_SEED)
            initial = pl_module.make_learner()
        self.initial, _ = self._roll_out(trainer, pl_module, initial)
        self._initial_of = now

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
        metrics = {}
        for probe, curve in self.curves[outer_step].items():
            for step, mean in zip(curve.steps, curve.mean, strict=True):
                metrics[f"{self.name}/{probe}_at_{step}"] = mean
            metrics[f"{self.name}/{probe}_standard_error"] = curve.standard_error[-1]
        log_metrics(trainer, metrics)
        rows = self._rows()
        self._write(rows)
        figures = {"curve": self._draw_first_probe()}
        if self.data.image_shape is not None and rollouts.first_layer is not None:
            fields = draw_receptive_fields(rollouts.first_layer, self.data.image_shape)
            figures["receptive_fields"] = fields
        figures["embedding"] = draw_embedding(rollouts.embedding, rollouts.labels)
        for what, figure in figures.items():
            self._show_figure(trainer, what, figure)
        self._show_table(trainer, "curve_table", COLUMNS, rows)
        columns = ["class", *(f"u{unit}" for unit in range(rollouts.embedding.shape[1]))]
        pairs = zip(rollouts.labels.tolist(), rollouts.embedding.tolist(), strict=True)
        examples = [[str(label), *row] for label, row in pairs]
        self._show_table(trainer, "embedding_table", columns, examples)

    def _rows(self) -> list[list[Any]]:
        """All curves, a row of `COLUMNS` per probe and probed step, initial θ first."""
        measured = sorted(self.curves.items())
        return [
            [str(outer_step), probe, self.held_out.protocol, *row]
            for outer_step, curves in [("initial", self.initial), *measured]
            for probe, curve in curves.items()
            for row in zip(curve.steps, curve.mean, curve.standard_error, strict=True)
        ]

    def _write(self, rows: list[list[Any]]) -> None:
        """Write all curves as CSV, and the latest and those of initial θ as JSON."""
        with replace_file(self.file("curve.csv")) as path, path.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
        last = max(self.curves)
        numbers = {
            "protocol": self.held_out.protocol,
            "draws": self.held_out.draws,
            "labels_per_class": self.held_out.labels_per_class,
            "outer_step": last,
            "trained": _plain(self.curves[last]),
            "initial": _plain(self.initial),
        }
        with replace_file(self.file("curve.json")) as path:
            path.write_text(json.dumps(numbers, indent=1))

    def _draw_first_probe(self) -> Figure:
        probe, held_out = self.held_out.probes[0], self.held_out
        by_outer_step = {step: curves[probe] for step, curves in self.curves.items()}
        title = (
            f"Held-out {self.name}, {held_out.protocol}: "
            f"{held_out.labels_per_class} labels per class, {probe}"
        )
        return draw_curves(title, self.initial[probe], by_outer_step)

    def _show_figure(self, trainer: Trainer, what: str, figure: Figure) -> None:
        """Write a figure to a PNG file, and pass it to loggers that take images."""
        name, picture = f"{self.name}/{what}", self.file(f"{what}.png")
        with replace_file(picture) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                with Image.open(picture) as image:
                    pixels = np.asarray(image.convert("RGB"))
                logger.experiment.add_image(name, pixels, trainer.global_step, dataformats="HWC")
            elif isinstance(logger, WandbLogger):
                logger.log_image(name, [str(picture)], step=trainer.global_step)

    def _show_table(
        self, trainer: Trainer, what: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Pass a table, of one type per column, to loggers that take tables."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                data = [list(row) for row in rows]
                name = f"{self.name}/{what}"
                logger.log_table(name, list(columns), data, step=trainer.global_step)


def _plain(curves: dict[str, Curve]) -> dict[str, dict[str, Any]]:
    return {probe: vars(curve) for probe, curve in curves.items()}


def _curves(plain: dict[str, dict[str, Any]]) -> dict[str, Curve]:
    return {probe: Curve(**curve) for probe, curve in plain.items()}
