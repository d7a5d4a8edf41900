"""MetaLightningModule: θ, the cohorts' φ, and the manual optimisation of θ."""

from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.distributed import ReduceOp
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from lit_lul.errors import InvalidInput
from lit_lul.estimators import TruncatedBackprop
from lit_lul.estimators.estimator import Carry, Estimator, seeded
from lit_lul.files.theta import check_same, check_settings, check_shapes, described
from lit_lul.learners import Learner, UnsupervisedUpdate
from lit_lul.objectives import FewShotRidge
from lit_lul.objectives.objective import Objective
from lit_lul.training.loggers import log_metrics
from lit_lul.training.metrics import UnrollMetrics
from lit_lul.training.preemption import Stopped
from lit_lul.training.progress import SHOWN
from lit_lul.training.rank_state import join_ranks, own_part
from lit_lul.training.ranks import reduce
from lit_lul.training.schedules import PiecewiseConstantLR
from lit_lul.training.throughput import Throughput, peak_memory
from lit_lul.training.truncations import CohortTruncation
from lit_lul.trees import to_device

PRECISIONS = ("32-true", "bf16-mixed", "64-true")
"""Precisions of Lightning's that runs are tested in; bf16-mixed keeps all but hidden states in
float32."""


def paper_optimizer(params: Any) -> torch.optim.Optimizer:
    """Adam at 3e-4 (H.2)."""
    return torch.optim.Adam(params, lr=3e-4)


def paper_schedule(optimizer: torch.optim.Optimizer) -> PiecewiseConstantLR:
    """1e-4 from 100,000 outer steps on and 2e-5 from 150,000 (H.2)."""
    return PiecewiseConstantLR(optimizer, milestones=[100_000, 150_000], factors=[1 / 3, 1 / 15])


def check_precision(precision: object) -> None:
    """Check a precision of the trainer, by the names that Lightning knows it under.

    Raises:
        InvalidInput: for one that this package does not run in.
    """
    if str(precision) not in (*PRECISIONS, "None", "32", "64", "bf16"):
        raise InvalidInput(f"trainer.precision {precision}: expected {', '.join(PRECISIONS)}")


class MetaLightningModule(LightningModule):
    """Meta-trains a learner: one `training_step` is one truncation of one cohort.

    The gradient of an outer step is the mean over the cohorts of all ranks; a cohort whose loss or
    gradient is not finite is left out of it and starts a new problem.

    Args:
        learner: what is meta-trained; its parameters are θ. None for the paper's rule in the form
            that its authors released.
        objective: what scores the networks that it trains.
        estimator: what turns a truncation and its score into a gradient of θ.
        optimizer: makes the meta-optimizer from θ.
        lr_scheduler: makes the schedule of its rate, in outer steps.
        clip_norm: largest norm of an outer step's gradient (5 in H.2).
        compile: whether the learner runs compiled kernels, which needs a compiler.

    Raises:
        InvalidInput: for a clip norm that is not positive.
    """

    def __init__(
        self,
        learner: Learner | None = None,
        objective: Objective = FewShotRidge(),
        estimator: Estimator = TruncatedBackprop(),
        optimizer: OptimizerCallable = paper_optimizer,
        lr_scheduler: LRSchedulerCallable = paper_schedule,
        clip_norm: float = 5.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if clip_norm <= 0:
            raise InvalidInput(f"clip_norm {clip_norm}: expected a positive number")
        self.automatic_optimization = False
        self.learner: Learner = UnsupervisedUpdate() if learner is None else learner
        self.objective, self.estimator = objective, estimator
        self.make_optimizer, self.make_schedule = optimizer, lr_scheduler
        self.clip_norm, self.compile_learner = clip_norm, compile
        self.cohorts: dict[int, Carry] = {}
        self.stop_signal = 0
        """Number of a signal that asks the run to stop; 0 for none."""
        self.stopping = False
        """Whether all ranks stop here."""
        self.turn = 0
        """Cohorts of this rank that have had their truncation of the current outer step."""
        self._failed: dict[int, Tensor] = {}
        self._sums = {
            "gradient": torch.zeros(sum(p.numel() for p in self.learner.parameters())),
            "contributions": torch.zeros(()),
            "restarts": torch.zeros(()),
        }

    def make_learner(self) -> Learner:
        """A learner with new θ, of this module's class and settings."""
        learner = type(self.learner)(self.learner.settings).to(self.device, self._theta_dtype)
        learner.prepare(self.compile_learner)
        return learner

    def setup(self, stage: str) -> None:
        """Make the metrics; task families come from the datamodule.

        Raises:
            InvalidInput: when the trainer's precision is one that this package does not run in.
        """
        check_precision(self.trainer.precision)
        if self.trainer.precision == "64-true":  # before a checkpoint is loaded into it
            self.learner.double()
        trainer: Any = self.trainer  # Lightning sets these two without declaring them
        data = self._data = trainer.datamodule
        self._log_every = trainer.log_every_n_steps
        self.train_metrics = UnrollMetrics("train", data.families)
        self.cohort_age = MeanMetric()
        self.cohort_age.persistent(True)
        rolled_out = "test" if stage == "test" else "val"
        self.rollout_metrics = UnrollMetrics(rolled_out, data.validation_families)
        self._throughput = Throughput()

    @property
    def restarts(self) -> int:
        """Problems of this rank that ended early because something was not finite."""
        return int(self._sums["restarts"])

    def on_fit_start(self) -> None:
        """Choose kernels, move what cohorts carry, and do without DistributedDataParallel.

        It has given all ranks the same θ; from here on they meet once per outer step, where its
        hooks would have them meet at every backward pass.
        """
        self.trainer.strategy.model = self
        self.learner.prepare(self.compile_learner)
        self._sums = {n: t.to(self.device, self._theta_dtype) for n, t in self._sums.items()}
        self.cohorts = to_device(self.cohorts, self.device)

    def configure_optimizers(self) -> Any:
        """The meta-optimizer of θ and its schedule, which `training_step` steps itself."""
        optimizer = self.make_optimizer(self.learner.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}

    def training_step(self, batch: CohortTruncation, batch_idx: int) -> None:
        """Run one truncation; after the last cohort of an outer step, move θ."""
        truncation = batch.truncation
        carry = None if batch.fresh else self.cohorts.get(batch.cohort)
        if carry is None:
            self.learner.check(truncation.network)
        outcome = self.estimator(self.learner, self.objective, carry, truncation)
        finite = outcome.gradient.isfinite().all() & outcome.score.loss.isfinite().all()
        self._sums["gradient"] += torch.where(finite, outcome.gradient, 0.0)
        self._sums["contributions"] += finite
        self._sums["restarts"] += ~finite
        self.cohorts[batch.cohort], self._failed[batch.cohort] = outcome.carry, ~finite
        self.train_metrics.update(outcome.score.loss, outcome.score.accuracy, batch.family)
        self.cohort_age.update(batch.age)
        self._throughput.count(inner_steps=len(truncation.batches) * truncation.tasks)
        self.turn = (self.turn + 1) % self._data.sizes.cohorts
        if self.turn == 0:
            self._outer_step()

    def on_train_batch_end(self, outputs: Any, batch: CohortTruncation, batch_idx: int) -> None:
        """Leave where all ranks stop; the callbacks have saved.

        Raises:
            Stopped: a SystemExit.
        """
        if self.stopping:
            number = reduce(torch.tensor(self.stop_signal, device=self.device), ReduceOp.MAX)
            raise Stopped(self.trainer, int(number))

    def on_validation_start(self) -> None:
        """Choose kernels, where this is no part of a fit, which has chosen them."""
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self.learner.prepare(self.compile_learner)

    def on_test_start(self) -> None:
        """Choose kernels."""
        self.learner.prepare(self.compile_learner)

    def validation_step(self, batch: CohortTruncation, batch_idx: int) -> None:
        """Roll out a fresh cohort of tasks that training never sees."""
        self._roll_out(batch)

    def test_step(self, batch: CohortTruncation, batch_idx: int) -> None:
        """As `validation_step`, on other tasks."""
        self._roll_out(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the means."""
        self._log(self.rollout_metrics.summarise())

    def on_test_epoch_end(self) -> None:
        """Log the means."""
        self._log(self.rollout_metrics.summarise())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save every rank's φ and sums, and what describes θ; ranks call it together."""
        self._drop_failed()
        checkpoint |= join_ranks(self.cohorts, self._rank_sums(), self.turn)
        carries = {"model.estimator": self.estimator.carries}
        checkpoint["cohort_settings"] = self._data.cohort_settings() | carries
        checkpoint["learner"] = described(self.learner)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load θ, and to resume training also what this rank's cohorts carry and all else.

        It stays on the CPU until `on_fit_start`: the module has not been moved yet.

        Raises:
            InvalidInput: when the checkpoint is of another learner or of other cohorts, or of θ
                alone where more is needed, or of another number of ranks in the middle of an outer
                step.
        """
        source = str(self.trainer.ckpt_path)
        check_settings(source, checkpoint["learner"], described(self.learner))
        state, own = checkpoint["state_dict"], self.state_dict()
        if self.trainer.state.fn != TrainerFn.FITTING:
            state = own | {name: t for name, t in state.items() if name.startswith("learner.")}
            check_shapes(source, state, own)
            checkpoint["state_dict"] = state
            return
        if "optimizer_states" not in checkpoint:
            raise InvalidInput(f"{source}: holds θ alone, to resume fit expects last.ckpt")
        check_shapes(source, state, own)
        found, expected = checkpoint["cohort_settings"], self._data.cohort_settings()
        expected |= {"model.estimator": self.estimator.carries}
        check_same(source, found, {name: v for name, v in expected.items() if name in found})
        self.cohorts, sums, self.turn = own_part(
            source, checkpoint, self._data.sizes.cohorts, self.global_rank, self.trainer.world_size
        )
        self._sums = {name: sums[name] for name in self._sums}
        checkpoint["state_dict"] |= {n: t for n, t in sums.items() if n not in self._sums}

    def _rank_sums(self) -> dict[str, Tensor]:
        """What this rank has a part of and all ranks together the whole."""
        metrics = {n: t for n, t in self.state_dict().items() if not n.startswith("learner.")}
        return self._sums | metrics

    @property
    def _theta_dtype(self) -> torch.dtype:
        """Of θ."""
        return next(self.learner.parameters()).dtype

    def _drop_failed(self) -> None:
        """Have cohorts that were not finite start a new problem; waits for the device once."""
        if not self._failed:
            return
        flags = torch.stack(list(self._failed.values())).tolist()
        for cohort, failed in zip(self._failed, flags, strict=True):
            if failed:
                del self.cohorts[cohort]
        self._failed = {}

    def _outer_step(self) -> None:
        """Move θ by the mean gradient over all cohorts of all ranks."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer) and isinstance(scheduler, LRScheduler)
        mine = [self._sums["contributions"], torch.tensor(self.stop_signal, device=self.device)]
        together = reduce(torch.cat([self._sums["gradient"], torch.stack(mine)]))
        gradient = together[:-2] / together[-2].clamp(min=1)
        self.stopping = bool(together[-1] > 0)
        sizes = [p.numel() for p in self.learner.parameters()]
        for parameter, part in zip(self.learner.parameters(), gradient.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter).clone()
        rate = optimizer.param_groups[0]["lr"]
        self.clip_gradients(optimizer.optimizer, self.clip_norm, "norm")
        optimizer.step()
        self.learner.zero_grad()
        scheduler.step()
        self._sums["gradient"].zero_()
        self._sums["contributions"].zero_()
        self._drop_failed()
        self._throughput.count(outer_steps=1)
        if self.trainer.global_step % self._log_every == 0:
            self._log_training(
                {"gradient_norm": gradient.norm(), "learning_rate": torch.tensor(rate)}
            )

    def _log_training(self, values: dict[str, Tensor]) -> None:
        """Log how training goes since the last time; all ranks together."""
        inner, outer = self._throughput.lap()
        sums = reduce(torch.tensor([inner, self.restarts], device=self.device))
        memory = torch.tensor(peak_memory(self.device), device=self.device)
        values |= {
            "inner_steps_per_second": sums[0],
            "memory_gib": reduce(memory, ReduceOp.MAX),
            "cohort_restarts": sums[1],
            "cohort_age": self.cohort_age.compute(),
        }
        if self.trainer.max_steps > 0:
            left = self.trainer.max_steps - self.trainer.global_step
            values["hours_left"] = torch.tensor(left / outer / 3600)
        self.cohort_age.reset()
        named = {f"train/{name}": value for name, value in values.items()}
        self._log(self.train_metrics.summarise() | named)

    def _roll_out(self, batch: CohortTruncation) -> None:
        truncation = batch.truncation
        self.learner.check(truncation.network)
        with torch.no_grad():
            start = seeded(truncation.start_seed, self.device)
            state = self.learner.start(truncation.network, truncation.tasks, start)
            for step in truncation.batches:
                state = self.learner(truncation.network, state, step)
            params = self.learner.parameters_of(state)
            score = self.objective(truncation.network, params, truncation.labelled)
        if batch.counted:
            self.rollout_metrics.update(score.loss, score.accuracy, batch.family)

    def _log(self, values: dict[str, Tensor]) -> None:
        """Hand values to all loggers at once, at the outer step, and show the main ones."""
        log_metrics(self.trainer, {name: value.item() for name, value in values.items()})
        evaluating = self.trainer.evaluating  # Lightning means the ranks' values then: equal ones
        for name, value in values.items():
            self.log(name, value, prog_bar=name in SHOWN, logger=False, sync_dist=evaluating)
