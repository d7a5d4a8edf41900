"""The module's outer steps: whose gradients count, and what happens to cohorts that fail."""

import math
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from lit_lul.estimators import Outcome
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLPs
from lit_lul.objectives.objective import Score
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.schedules import ProblemLength, Rounds, UnrollLength, WeightSchedule
from lit_lul.tasks.sizes import Sizes
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.metrics import Throughput
from lit_lul.training.module import MetaLightningModule
from lit_lul.training.outer_step import GradientSum, MeanTheta
from lit_lul.trees import map_tensors, tensors_of


class Recorder(MetaLightningModule):
    """Counts optimiser steps, and breaks the loss of chosen truncations."""

    def __init__(self, broken: set[int], **settings: Any) -> None:
        super().__init__(UnsupervisedUpdate(UpdateSettings(**SMALL)), **settings)
        self.broken = broken
        self.seen: list[tuple[int, bool]] = []
        self.families: list[list[str]] = []  # of the truncations of each outer step
        self.gradients: list[Tensor] = []
        self.hours_left: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Poison the state before a broken truncation."""
        if batch_idx in self.broken:
            start = self.learner.start(batch.network, batch.tasks, torch.Generator())
            self.cohorts[batch.cohort] = map_tensors(lambda t: t * torch.nan, start)
            batch.fresh = False
        cohort = batch.cohort
        self.seen.append((cohort, cohort in self.cohorts and not batch.fresh))
        if self.trainer.global_step == len(self.families):
            self.families.append([])
        self.families[-1].append(self._data.families[batch.family])
        super().training_step(batch, batch_idx)

    def clip_gradients(self, *args: Any) -> None:
        """Note the mean gradient."""
        of = [p.grad.flatten() for p in self.learner.parameters() if p.grad is not None]
        self.gradients.append(torch.cat(of))
        super().clip_gradients(*args)

    def _log(self, values: dict[str, Tensor]) -> None:
        self.hours_left.append(values["train/hours_left"].item())
        super()._log(values)


SMALL: dict[str, Any] = {
    "hidden_channels": 4,
    "error_channels": 3,
    "top_channels": 4,
    "embedding_units": 4,
}


def fit(module: MetaLightningModule, cohorts: int, outer_steps: int, **changes: Any) -> Trainer:
    """Train a few outer steps in this process."""
    settings: dict[str, Any] = {
        "sources": {"glyphs": GlyphTasks(side=8, ways=[3])},
        "problem_length": ProblemLength(100, 100, 1, 0),
    }
    data = TaskDataModule(
        embedding_units=4,
        sizes=Sizes(cohorts, tasks=2, batch_size=5, labels_per_class=2, draws=2),
        networks=MLPs((1, 1), (4, 4)),
        **settings | changes,
    )
    trainer = Trainer(
        accelerator="cpu",
        max_steps=outer_steps,
        log_every_n_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, data)
    return trainer


def theta(module: MetaLightningModule) -> Tensor:
    """All of θ as one vector."""
    return torch.cat([p.detach().flatten() for p in module.learner.parameters()])


def test_what_cohorts_carry_follows_the_module_to_its_device() -> None:
    """A checkpoint is loaded while the module is still on the CPU."""
    module = Recorder(set())
    fit(module, cohorts=1, outer_steps=1)
    module.to("meta")
    module.on_fit_start()
    tensors = [t for _, t in tensors_of([module.cohorts, module._sum.tensors])]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_one_step_of_theta_per_meta_batch() -> None:
    module = Recorder(set())
    trainer = fit(module, cohorts=3, outer_steps=2)
    assert trainer.global_step == 2
    assert [cohort for cohort, _ in module.seen] == [0, 1, 2, 0, 1, 2]
    assert [kept for _, kept in module.seen] == [False] * 3 + [True] * 3


def test_non_finite_truncation_costs_its_cohort_alone() -> None:
    torch.manual_seed(0)
    broken = Recorder({1, 3, 4, 5})
    start = theta(broken).clone()
    trainer = fit(broken, cohorts=3, outer_steps=3)
    assert trainer.global_step == 3
    assert broken.restarts == 4
    assert set(broken.cohorts) == {0, 1, 2}
    assert theta(broken).isfinite().all()
    assert not torch.equal(theta(broken), start)


def test_rounds_step_with_the_mean_gradient_of_their_truncations() -> None:
    def gradients(rounds: int, outer_steps: int) -> Tensor:
        torch.manual_seed(0)
        module = Recorder(set(), optimizer=lambda params: torch.optim.SGD(params, lr=0.0))
        three = UnrollLength((3, 3), (3, 3))
        settings = {"unroll_length": three, "rounds": Rounds(rounds, rounds)}
        trainer = fit(module, 2, outer_steps, **settings)
        assert trainer.global_step == outer_steps
        assert module.seen == [(0, False), (1, False)] + [(0, True), (1, True)] * 3
        return torch.stack(module.gradients)

    single, double = gradients(1, 4), gradients(2, 2)
    torch.testing.assert_close(double, (single[0::2] + single[1::2]) / 2)
    assert not torch.allclose(double, single[0::2], rtol=0.01)


def test_rounds_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Throughput, "lap", lambda self: (1.0, 1 / 3600))
    module = Recorder(set())
    trainer = fit(module, cohorts=2, outer_steps=4, rounds=Rounds(1, 3, 2))
    assert [len(truncations) for truncations in module.families] == [2, 4, 6, 6]
    assert len(module.gradients) == 4
    assert module.hours_left == pytest.approx([16, 12, 6, 0]), "at a truncation in an hour"
    assert trainer.num_training_batches == 18, "what the progress bar counts"
    assert trainer.fit_loop.epoch_progress.current.completed == 1


def test_failed_cohort_starts_anew_in_the_next_round() -> None:
    module = Recorder({1})
    fit(module, cohorts=2, outer_steps=1, rounds=Rounds(3, 3))
    assert module.restarts == 1
    assert module.seen == [(0, False), (1, True), (0, True), (1, False), (0, True), (1, True)]
    assert module.gradients[0].isfinite().all()


def test_mixture_changes_with_the_outer_step() -> None:
    sources = {
        name: GlyphTasks(side=8, ways=[3], weight=weight)
        for name, weight in (("a", WeightSchedule(1, 0, 2)), ("b", WeightSchedule(0, 1, 2)))
    }
    module = Recorder(set())
    fit(module, 4, 4, sources=sources, problem_length=ProblemLength(1, 1, 1, 0))
    assert module.families[0] == ["a-3"] * 4
    assert sorted(module.families[1]) == ["a-3"] * 2 + ["b-3"] * 2
    assert module.families[2:] == [["b-3"] * 4] * 2


def test_cohorts_with_large_gradients_are_clipped_alone() -> None:
    gradients = []
    for limit in (math.inf, 1e-3):
        total = GradientSum(2, limit)
        for cohort, gradient in enumerate(([3.0, 4.0], [0.0, 1e-4])):
            score = Score(torch.zeros(1), torch.zeros(1))
            total.add(cohort, Outcome(torch.tensor(gradient), None, score))
        gradients.append(total.mean(stop=0)[0].tolist())
    assert gradients[0] == pytest.approx([1.5, 2.00005])
    assert gradients[1] == pytest.approx([0.6e-3 / 2, (0.8e-3 + 1e-4) / 2])


def test_mean_of_theta_follows_it_with_a_growing_horizon() -> None:
    learner = UnsupervisedUpdate(UpdateSettings(**SMALL))
    mean = MeanTheta(sum(p.numel() for p in learner.parameters()))
    path = [float(step) for step in range(1, 51)]
    for value in path:
        vector_to_parameters(torch.full_like(mean.theta, value), learner.parameters())
        mean.update(learner)
    expected = path[0]
    for step, value in enumerate(path[1:], start=2):
        expected += (value - expected) * 9 / (8 + step)
    copied = mean.learner_of(learner)
    for parameter in copied.parameters():
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, expected))
    assert 40 < expected < 50
    assert all((parameter == 50).all() for parameter in learner.parameters())
    assert copied.settings == learner.settings


def test_gradient_is_the_mean_over_finite_cohorts_and_clipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    norms: list[float] = []
    clip = MetaLightningModule.clip_gradients

    def record(self: MetaLightningModule, optimizer: Any, *limit: Any) -> None:
        gradients = [p.grad.flatten() for p in self.learner.parameters() if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())
        clip(self, optimizer, *limit)
        gradients = [p.grad.flatten() for p in self.learner.parameters() if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())

    monkeypatch.setattr(MetaLightningModule, "clip_gradients", record)
    for broken in (set[int](), {1}):
        torch.manual_seed(0)
        fit(Recorder(broken, clip_norm=1e-4), cohorts=2, outer_steps=1)
    whole, clipped, half, _ = norms
    assert whole > 1e-4
    assert clipped == pytest.approx(1e-4, rel=1e-3)
    torch.manual_seed(0)
    fit(Recorder(set(), clip_norm=1e-4), cohorts=1, outer_steps=1)
    assert half == pytest.approx(norms[4], rel=1e-5)
    assert not math.isclose(half, whole, rel_tol=1e-3)
