"""MetaLightningModule: θ, the cohorts' φ, and the manual optimisation of θ."""

import time
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from lit_lul.base_model import Phi
from lit_lul.errors import InvalidInput
from lit_lul.meta_objective import MetaObjective, ObjectiveSettings
from lit_lul.metrics import UnrollMetrics
from lit_lul.rule_file import check_same, check_shapes
from lit_lul.rules import RuleSettings, UnsupervisedUpdate
from lit_lul.rules.norm import compile_norms
from lit_lul.schedules import PiecewiseConstantLR
from lit_lul.tasks.batch import UnrollBatch
from lit_lul.unroll import unroll


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

    gradient_sum: Tensor
    truncations: Tensor
    contributions: Tensor
    restarts: Tensor

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
        theta = parameters_to_vector(self.rule.parameters()).detach()
        self.register_buffer("gradient_sum", torch.zeros_like(theta))
        self.register_buffer("truncations", torch.zeros((), dtype=torch.long))
        self.register_buffer("contributions", torch.zeros((), dtype=torch.long))
        self.register_buffer("restarts", torch.zeros((), dtype=torch.long))

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
        self._inner_steps, self._since = 0, time.perf_counter()

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
            self.gradient_sum += gradient
            self.contributions += 1
            self.cohorts[batch.cohort] = result.phi
        else:
            self.restarts += 1
            self.cohorts.pop(batch.cohort, None)
        self.truncations += 1
        self.train_metrics.update(result.loss, result.accuracy, batch.family)
        self.cohort_age.update(batch.age)
        self._inner_steps += batch.unlabelled.shape[0] * batch.unlabelled.shape[1]
        if self.truncations % self._data.sizes.cohorts == 0:
            self._outer_step()

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
        """Save the cohorts' φ and what describes θ."""
        checkpoint["cohorts"] = {
            cohort: [list(group) for group in phi] for cohort, phi in self.cohorts.items()
        }
        checkpoint["cohort_settings"] = self._data.cohort_settings()
        checkpoint["rule_settings"] = vars(self.rule.settings)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take θ back, and to go on training also the cohorts' φ and all else.

        Raises:
            InvalidInput: when the checkpoint is of another rule or of other cohorts, or of θ alone
                where more is needed.
        """
        source = str(self.trainer.ckpt_path)
        state, own = checkpoint["state_dict"], self.state_dict()
        if self.trainer.state.fn != TrainerFn.FITTING:
            state = own | {name: t for name, t in state.items() if name.startswith("rule.")}
        elif "optimizer_states" not in checkpoint:
            raise InvalidInput(f"{source}: holds θ alone, fit goes on from last.ckpt")
        check_shapes(source, state, own)
        if self.trainer.state.fn == TrainerFn.FITTING:
            made_with = checkpoint.get("cohort_settings", {})
            check_same(source, made_with, self._data.cohort_settings())
        checkpoint["state_dict"] = state
        self.cohorts = {
            cohort: Phi(*(tuple(group) for group in groups)).map(lambda p: p.to(self.device))
            for cohort, groups in checkpoint.get("cohorts", {}).items()
        }

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
        reduce = self.trainer.strategy.reduce
        total = reduce(self.gradient_sum, reduce_op="sum")
        count = reduce(self.contributions, reduce_op="sum")
        gradient = total / count.clamp(min=1)
        sizes = [p.numel() for p in self.rule.parameters()]
        for parameter, part in zip(self.rule.parameters(), gradient.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter).clone()
        rate = optimizer.param_groups[0]["lr"]
        self.clip_gradients(optimizer.optimizer, self.clip_norm, "norm")
        optimizer.step()
        self.rule.zero_grad()
        scheduler.step()
        self.gradient_sum.zero_()
        self.contributions.zero_()
        if self.trainer.global_step % self._log_every == 0:
            now = time.perf_counter()
            speed = self._inner_steps / (now - self._since)
            self._inner_steps, self._since = 0, now
            values = {
                "train/gradient_norm": gradient.norm(),
                "train/learning_rate": torch.tensor(rate),
                "train/inner_steps_per_second": torch.tensor(speed),
                "train/cohort_restarts": reduce(self.restarts.float(), reduce_op="sum"),
                "train/cohort_age": self.cohort_age.compute(),
            }
            self.cohort_age.reset()
            self._log(self.train_metrics.summarise() | values)

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
        numbers = {name: value.item() for name, value in values.items()}
        for logger in self.loggers:
            logger.log_metrics(numbers, self.trainer.global_step)
            logger.save()
        for name, value in values.items():
            shown = name.endswith(("/meta_loss", "/accuracy", "/inner_steps_per_second"))
            self.log(name, value, prog_bar=shown, logger=False)
