"""MetaLightningModule: θ, the cohorts' φ, and the manual optimisation of θ."""

from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.distributed import ReduceOp
from torch.nn.utils import parameters_to_vector
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from lit_lul.errors import InvalidInput
from lit_lul.estimators.truncated_backprop import unroll
from lit_lul.files.theta import check_same, check_shapes
from lit_lul.learners.update_rule import RuleSettings, UnsupervisedUpdate
from lit_lul.learners.update_rule.norm import compile_norms
from lit_lul.networks.mlp import Phi
from lit_lul.objectives.few_shot_ridge import MetaObjective, ObjectiveSettings
from lit_lul.tasks.batch import UnrollBatch
from lit_lul.training.loggers import log_metrics
from lit_lul.training.metrics import UnrollMetrics
from lit_lul.training.preemption import Stopped
from lit_lul.training.progress import SHOWN
from lit_lul.training.rank_state import join_ranks, own_part
from lit_lul.training.ranks import reduce
from lit_lul.training.schedules import PiecewiseConstantLR
from lit_lul.training.throughput import Throughput, peak_memory


def paper_optimizer(params: Any) -> torch.optim.Optimizer:
    """Adam at 3e-4 (H.2)."""
    return torch.optim.Adam(params, lr=3e-4)


def paper_schedule(optimizer: torch.optim.Optimizer) -> PiecewiseConstantLR:
    """1e-4 from 100,000 outer steps on and 2e-5 from 150,000 (H.2)."""
    return PiecewiseConstantLR(optimizer, milestones=[100_000, 150_000], factors=[1 / 3, 1 / 15])


class MetaLightningModule(LightningModule):
    """Meta-trains a rule: one `training_step` is one truncation of one cohort.

    The gradient of an outer step is the mean over the cohorts of all ranks; a cohort whose loss or
    gradient is not finite is left out of it and starts afresh.

    Args:
        rule: settings of the rule.
        objective: settings of the meta-objective.
        optimizer: makes the meta-optimizer from θ.
        lr_scheduler: makes the schedule of its rate, in outer steps.
        clip_norm: largest norm of an outer step's gradient (5 in H.2).
        recompute: whether activations are computed a second time instead of kept.
        compile: whether the norms run as compiled kernels, which needs a compiler.
    """

    def __init__(
        self,
        rule: RuleSettings = RuleSettings(),
        objective: ObjectiveSettings = ObjectiveSettings(),
        optimizer: OptimizerCallable = paper_optimizer,
        lr_scheduler: LRSchedulerCallable = paper_schedule,
        clip_norm: float = 5.0,
        recompute: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if clip_norm <= 0:
            raise InvalidInput(f"clip_norm {clip_norm}: expected a positive number")
        self.automatic_optimization = False
        self.rule_settings, self.compile_rule = rule, compile
        self.rule = self.make_rule()
        self.objective = MetaObjective(objective)
        self.make_optimizer, self.make_schedule = optimizer, lr_scheduler
        self.clip_norm, self.recompute = clip_norm, recompute
        self.cohorts: dict[int, Phi] = {}
        self.stop_signal = 0
        """Number of a signal that asks the run to stop; 0 for none."""
        self.stopping = False
        """Whether all ranks stop here."""
        self._turn = 0
        self._sums = {
            "gradient": torch.zeros(sum(p.numel() for p in self.rule.parameters())),
            "contributions": torch.zeros(()),
            "restarts": torch.zeros(()),
        }

    def make_rule(self) -> UnsupervisedUpdate:
        """A rule with new θ, of this module's settings."""
        rule = UnsupervisedUpdate(self.rule_settings)
        if self.compile_rule:
            compile_norms(rule)
        return rule

    def setup(self, stage: str) -> None:
        """Make the metrics; the task families come from the datamodule."""
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
        """Cohorts of this rank that started afresh because something was not finite."""
        return int(self._sums["restarts"])

    def on_fit_start(self) -> None:
        """Take every truncation's gradient without DistributedDataParallel.

        It has given all ranks the same θ; from here on they meet once per outer step, where its
        hooks would have them meet at every backward pass.
        """
        self.trainer.strategy.model = self
        self._sums = {name: value.to(self.device) for name, value in self._sums.items()}

    def configure_optimizers(self) -> Any:
        """The meta-optimizer of θ and its schedule, which `training_step` steps itself."""
        optimizer = self.make_optimizer(self.rule.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}

    def training_step(self, batch: UnrollBatch, batch_idx: int) -> None:
        """Unroll one truncation; after the last cohort of an outer step, move θ."""
        result = unroll(
            self.rule,
            self.objective,
            batch.base_model,
            self._phi(batch),
            batch.unlabelled,
            batch.labelled,
            self.recompute,
        )
        self.manual_backward(result.loss.mean())
        gradient = self._take_gradient()
        if bool(gradient.isfinite().all() & result.loss.isfinite().all()):
            self._sums["gradient"] += gradient
            self._sums["contributions"] += 1
            self.cohorts[batch.cohort] = result.phi
        else:
            self._sums["restarts"] += 1
            self.cohorts.pop(batch.cohort, None)
        self.train_metrics.update(result.loss, result.accuracy, batch.family)
        self.cohort_age.update(batch.age)
        self._throughput.count(inner_steps=batch.unlabelled.shape[0] * batch.unlabelled.shape[1])
        self._turn = (self._turn + 1) % self._data.sizes.cohorts
        if self._turn == 0:
            self._outer_step()

    def on_train_batch_end(self, outputs: Any, batch: UnrollBatch, batch_idx: int) -> None:
        """Leave where all ranks stop; the callbacks have saved.

        Raises:
            Stopped: a SystemExit.
        """
        if self.stopping:
            number = reduce(torch.tensor(self.stop_signal, device=self.device), ReduceOp.MAX)
            raise Stopped(self.trainer, int(number))

    def validation_step(self, batch: UnrollBatch, batch_idx: int) -> None:
        """Roll out a fresh cohort of tasks that training never sees."""
        self._roll_out(batch)

    def test_step(self, batch: UnrollBatch, batch_idx: int) -> None:
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
        checkpoint |= join_ranks(self.cohorts, self._rank_sums(), self._turn)
        checkpoint["cohort_settings"] = self._data.cohort_settings()
        checkpoint["rule_settings"] = vars(self.rule.settings)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take θ back, and to go on training also this rank's cohorts and all else.

        Raises:
            InvalidInput: when the checkpoint is of another rule or of other cohorts, or of θ alone
                where more is needed, or of another number of ranks in the middle of an outer step.
        """
        source = str(self.trainer.ckpt_path)
        state, own = checkpoint["state_dict"], self.state_dict()
        if self.trainer.state.fn != TrainerFn.FITTING:
            state = own | {name: t for name, t in state.items() if name.startswith("rule.")}
            check_shapes(source, state, own)
            checkpoint["state_dict"] = state
            return
        if "optimizer_states" not in checkpoint:
            raise InvalidInput(f"{source}: holds θ alone, fit goes on from last.ckpt")
        check_shapes(source, state, own)
        check_same(source, checkpoint.get("cohort_settings", {}), self._data.cohort_settings())
        cohorts, sums, self._turn = own_part(
            source, checkpoint, self._data.sizes.cohorts, self.global_rank, self.trainer.world_size
        )
        self._sums = {name: sums[name].to(self.device) for name in self._sums}
        checkpoint["state_dict"] |= {n: t for n, t in sums.items() if n not in self._sums}
        self.cohorts = {c: phi.map(lambda p: p.to(self.device)) for c, phi in cohorts.items()}

    def _rank_sums(self) -> dict[str, Tensor]:
        """What this rank has a part of and all ranks together the whole."""
        metrics = {n: t for n, t in self.state_dict().items() if not n.startswith("rule.")}
        return self._sums | metrics

    def _phi(self, batch: UnrollBatch) -> Phi:
        if batch.fresh or batch.cohort not in self.cohorts:
            return self._fresh_phi(batch)
        return self.cohorts[batch.cohort]

    def _fresh_phi(self, batch: UnrollBatch) -> Phi:
        generator = torch.Generator().manual_seed(batch.phi_seed)
        phi = batch.base_model.init(batch.unlabelled.shape[1], generator)
        return phi.map(lambda p: p.to(self.device))

    def _take_gradient(self) -> Tensor:
        """The gradient that a backward pass left in θ, as one vector; θ forgets it."""
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.rule.parameters()]
        self.rule.zero_grad()
        return parameters_to_vector(parts)

    def _outer_step(self) -> None:
        """Move θ by the mean gradient over all cohorts of all ranks."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer) and isinstance(scheduler, LRScheduler)
        mine = [self._sums["contributions"], torch.tensor(self.stop_signal, device=self.device)]
        together = reduce(torch.cat([self._sums["gradient"], torch.stack(mine)]))
        gradient = together[:-2] / together[-2].clamp(min=1)
        self.stopping = bool(together[-1] > 0)
        sizes = [p.numel() for p in self.rule.parameters()]
        for parameter, part in zip(self.rule.parameters(), gradient.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter).clone()
        rate = optimizer.param_groups[0]["lr"]
        self.clip_gradients(optimizer.optimizer, self.clip_norm, "norm")
        optimizer.step()
        self.rule.zero_grad()
        scheduler.step()
        self._sums["gradient"].zero_()
        self._sums["contributions"].zero_()
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

    def _roll_out(self, batch: UnrollBatch) -> None:
        result = unroll(
            self.rule,
            self.objective,
            batch.base_model,
            self._fresh_phi(batch),
            batch.unlabelled,
            batch.labelled,
            recompute=False,
        )
        self.rollout_metrics.update(result.loss, result.accuracy, batch.family)

    def _log(self, values: dict[str, Tensor]) -> None:
        """Hand values to all loggers at once, at the outer step, and show the main ones."""
        log_metrics(self.trainer, {name: value.item() for name, value in values.items()})
        evaluating = self.trainer.evaluating  # Lightning means the ranks' values then: equal ones
        for name, value in values.items():
            self.log(name, value, prog_bar=name in SHOWN, logger=False, sync_dist=evaluating)
