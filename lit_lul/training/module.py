"""MetaLightningModule: holds θ and the cohorts' states, and optimises θ manually."""

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

from lit_lul.constraints import Positive, check_arguments
from lit_lul.devices import check_precision, has_compiler
from lit_lul.errors import InvalidInput
from lit_lul.estimators import TruncatedBackprop
from lit_lul.estimators.estimator import Carry, Estimator, Truncation
from lit_lul.estimators.truncated_backprop import advance
from lit_lul.files.tensors import check_same, check_shapes
from lit_lul.files.theta import check_settings, described
from lit_lul.learners import Learner, UnsupervisedUpdate
from lit_lul.objectives import FewShotRidge
from lit_lul.objectives.objective import Objective
from lit_lul.precision import float32_by_default, full_precision
from lit_lul.tasks.plan import Plan
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.loggers import SHOWN, log_metrics
from lit_lul.training.metrics import Throughput, UnrollMetrics, peak_memory
from lit_lul.training.outer_step import GradientSum, MeanTheta
from lit_lul.training.preemption import Stopped, stop_signal
from lit_lul.training.ranks import join_ranks, own_part, reduce
from lit_lul.training.schedules import paper_optimizer, paper_schedule
from lit_lul.training.truncations import Needs, realise
from lit_lul.trees import to_device


class MetaLightningModule(LightningModule):
    """Meta-trains a learner: one `training_step` is one truncation of one cohort.

    The gradient of an outer step is the mean over the truncations of all ranks' cohorts, one of
    each cohort in each round. A truncation whose loss or gradient is not finite does not count, and
    its cohort starts a new problem.

    Args:
        learner: the learner to meta-train; its parameters are θ. None for the paper's rule in its
            released form.
        objective: scores the networks that the learner trains.
        estimator: estimates the gradient of θ from a truncation.
        optimizer: makes the meta-optimizer from θ.
        lr_scheduler: makes the schedule of its learning rate, in outer steps.
        clip_norm: largest norm of an outer step's gradient (5 in H.2).
        cohort_clip_norm: largest norm of the gradient of one truncation, so that few cohorts with
            large gradients do not determine the mean; not in the paper.
        compile: whether the learner uses compiled kernels, which needs a C++ compiler; None if
            there is one.
    """

    def __init__(
        self,
        learner: Learner | None = None,
        objective: Objective = FewShotRidge(),
        estimator: Estimator = TruncatedBackprop(),
        optimizer: OptimizerCallable = paper_optimizer,
        lr_scheduler: LRSchedulerCallable = paper_schedule,
        clip_norm: Positive = 5.0,
        cohort_clip_norm: Positive = float("inf"),
        compile: bool | None = False,
    ) -> None:
        super().__init__()
        check_arguments(MetaLightningModule.__init__, locals())
        self.automatic_optimization = False
        self.learner: Learner = UnsupervisedUpdate() if learner is None else learner
        self.objective, self.estimator = objective, estimator
        self.make_optimizer, self.make_schedule = optimizer, lr_scheduler
        self.clip_norm = clip_norm
        self.compile_learner = has_compiler() if compile is None else compile
        self.cohorts: dict[int, Carry] = {}
        self._stopping = False
        """Whether all ranks stop after this outer step."""
        self._turn = 0
        """Truncations of the current outer step that this rank has done."""
        parameters = sum(p.numel() for p in self.learner.parameters())
        self._sum = GradientSum(parameters, cohort_clip_norm)
        self.mean_theta = MeanTheta(parameters)

    def make_learner(self) -> Learner:
        """A learner of the same class and settings with newly initialised θ."""
        learner = type(self.learner)(self.learner.settings).to(self.device, self._theta_dtype)
        learner.prepare(self.compile_learner)
        return learner

    def setup(self, stage: str) -> None:
        """Make the metrics; the datamodule gives the task families."""
        check_precision(self.trainer.precision)
        if self.trainer.precision == "64-true":  # before a checkpoint is loaded into it
            self.learner.double()
        trainer: Any = self.trainer  # Lightning sets these two without declaring them
        self._log_every = trainer.log_every_n_steps
        assert isinstance(trainer.datamodule, TaskDataModule), "it makes the plans of truncations"
        self._data: TaskDataModule = trainer.datamodule
        self.train_metrics = UnrollMetrics("train", self._data.families)
        self.cohort_age = MeanMetric()
        self.cohort_age.persistent(True)
        rolled_out = "test" if stage == "test" else "val"
        self.rollout_metrics = UnrollMetrics(rolled_out, self._data.validation_families)
        self._throughput = Throughput()

    @property
    def restarts(self) -> int:
        """Problems of this rank that ended early because of a value that was not finite."""
        return int(self._sum.tensors["restarts"])

    def on_fit_start(self) -> None:
        """Choose kernels, move the cohorts' states, and unwrap DistributedDataParallel.

        It has broadcast θ. From here on ranks communicate once per outer step; its hooks would
        communicate at every backward pass.
        """
        self.trainer.strategy.model = self
        self.learner.prepare(self.compile_learner)
        self._sum.to(self.device, self._theta_dtype)
        self.cohorts = to_device(self.cohorts, self.device)

    def configure_optimizers(self) -> Any:
        """The meta-optimizer of θ and its schedule; `training_step` steps both."""
        optimizer = self.make_optimizer(self.learner.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}

    @property
    def needs(self) -> Needs:
        """What the learner and the objective need of the data."""
        unlabelled = self.objective.needs_unlabelled
        return Needs(self.device, self._theta_dtype, self.learner.learns_from, unlabelled)

    def training_step(self, plan: Plan, batch_idx: int) -> None:
        """Run one truncation; after the last one of an outer step, update θ (algorithm 1)."""
        truncation = self._realise(plan)
        carry = None if plan.fresh else self.cohorts.get(plan.cohort)
        outcome = self.estimator(self.learner, self.objective, carry, truncation)
        self.cohorts[plan.cohort] = outcome.carry
        self._sum.add(plan.cohort, outcome)
        self.train_metrics.update(outcome.score.loss, outcome.score.accuracy, plan.family)
        self.cohort_age.update(plan.age)
        self._throughput.count(inner_steps=len(truncation.batches) * truncation.tasks)
        self._turn = 0 if plan.completes else self._turn + 1
        if plan.completes:
            self._outer_step()
        if self._turn % self._data.sizes.cohorts == 0:
            self._drop_failed()

    def on_train_batch_end(self, outputs: Any, batch: Plan, batch_idx: int) -> None:
        """Exit when all ranks stop; `RunCheckpoint` saves what it interrupts.

        Raises:
            Stopped: a SystemExit.
        """
        if self._stopping:
            number = torch.tensor(stop_signal(self.trainer), device=self.device)
            raise Stopped(self.trainer, int(reduce(number, ReduceOp.MAX)))

    def on_validation_start(self) -> None:
        """Choose kernels, where this is no part of a fit, which has chosen them."""
        if self.trainer.state.fn != TrainerFn.FITTING:
            self.learner.prepare(self.compile_learner)

    def validation_step(self, plan: Plan, batch_idx: int) -> None:
        """Roll out a new cohort of tasks that training never sees."""
        truncation = self._realise(plan)
        with torch.no_grad():
            params = self.learner.parameters_of(advance(self.learner, None, truncation))
            score = self.objective(truncation.network, params, truncation.labelled)
        if plan.counted:
            self.rollout_metrics.update(score.loss, score.accuracy, plan.family)

    def on_validation_epoch_end(self) -> None:
        """Log the means."""
        self._log(self.rollout_metrics.summarise())

    # testing is the same on other tasks
    on_test_start, test_step = on_validation_start, validation_step
    on_test_epoch_end = on_validation_epoch_end

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save all ranks' cohorts and sums, and the learner's settings; all ranks must call it."""
        self._drop_failed()
        checkpoint |= join_ranks(self.cohorts, self._rank_sums(), self._turn)
        carries = {"model.estimator": self.estimator.carries}
        checkpoint["cohort_settings"] = self._data.cohort_settings() | carries
        checkpoint["learner"] = described(self.learner)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load θ, and to resume training also this rank's cohorts and sums.

        They stay on the CPU until `on_fit_start`: the module has not been moved yet.

        Raises:
            InvalidInput: when the checkpoint has another learner or other cohorts, holds only θ
                where training is resumed, or was saved in the middle of an outer step by another
                number of ranks.
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
            raise InvalidInput(f"{source}: holds only θ; resuming a fit needs last.ckpt")
        check_shapes(source, state, own)
        found, expected = checkpoint["cohort_settings"], self._data.cohort_settings()
        expected |= {"model.estimator": self.estimator.carries}
        check_same(source, found, {name: v for name, v in expected.items() if name in found})
        size, rounds = self._data.sizes.cohorts, self._data.rounds
        rank, ranks = self.global_rank, self.trainer.world_size
        parts = own_part(source, checkpoint, size, rounds, rank, ranks)
        self.cohorts, sums, self._turn = parts
        self._sum.load(sums)
        checkpoint["state_dict"] |= {n: t for n, t in sums.items() if n not in self._sum.tensors}

    def _rank_sums(self) -> dict[str, Tensor]:
        """The parts that this rank has of sums over all ranks."""
        shared = ("learner.", "mean_theta.")
        metrics = {n: t for n, t in self.state_dict().items() if not n.startswith(shared)}
        return self._sum.tensors | metrics

    @property
    def _theta_dtype(self) -> torch.dtype:
        """The dtype of θ."""
        return next(self.learner.parameters()).dtype

    def _drop_failed(self) -> None:
        """Make cohorts that were not finite start a new problem."""
        for cohort in self._sum.take_failed():
            del self.cohorts[cohort]

    def _outer_step(self) -> None:
        """Update θ with the mean gradient over all truncations of all ranks."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer) and isinstance(scheduler, LRScheduler)
        gradient, self._stopping = self._sum.mean(stop_signal(self.trainer))
        sizes = [p.numel() for p in self.learner.parameters()]
        for parameter, part in zip(self.learner.parameters(), gradient.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter).clone()
        rate = optimizer.param_groups[0]["lr"]
        self.clip_gradients(optimizer.optimizer, self.clip_norm, "norm")
        optimizer.step()
        self.learner.zero_grad()
        self.mean_theta.update(self.learner)
        scheduler.step()
        if self.trainer.global_step % self._log_every == 0:
            self._log_training(
                {"gradient_norm": gradient.norm(), "learning_rate": torch.tensor(rate)}
            )

    def _log_training(self, values: dict[str, Tensor]) -> None:
        """Log the training metrics since the last call; all ranks must call it."""
        inner, truncations = self._throughput.lap()
        sums = reduce(torch.tensor([inner, self.restarts], device=self.device))
        memory = torch.tensor(peak_memory(self.device), device=self.device)
        values |= {
            "inner_steps_per_second": sums[0],
            "memory_gib": reduce(memory, ReduceOp.MAX),
            "cohort_restarts": sums[1],
            "cohort_age": self.cohort_age.compute(),
        }
        if self.trainer.max_steps > 0:
            last, now = self.trainer.max_steps, self.trainer.global_step
            left = self._data.truncations(last) - self._data.truncations(now)
            values["hours_left"] = torch.tensor(left / truncations / 3600)
        self.cohort_age.reset()
        named = {f"train/{name}": value for name, value in values.items()}
        self._log(self.train_metrics.summarise() | named)

    def _realise(self, plan: Plan) -> Truncation:
        """The tensors of a plan, whose network the learner must be able to train.

        Data are made in float32 without autocast, whatever the run's precision is.
        """
        self.learner.check(plan.network)
        with full_precision(next(self.learner.parameters())), float32_by_default():
            return realise(plan, self.needs)

    def _log(self, values: dict[str, Tensor]) -> None:
        """Log values with all loggers at the outer step, and show the main values."""
        log_metrics(self.trainer, {name: value.item() for name, value in values.items()})
        evaluating = self.trainer.evaluating  # Lightning then averages over ranks: equal values
        for name, value in values.items():
            self.log(name, value, prog_bar=name in SHOWN, logger=False, sync_dist=evaluating)
