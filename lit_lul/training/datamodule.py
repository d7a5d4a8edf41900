"""TaskDataModule: cohorts of tasks in, one truncation of one cohort out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule

from lit_lul.errors import InvalidInput
from lit_lul.tasks.augmentation import Augmentation
from lit_lul.tasks.batch import UnrollBatch, make_batch
from lit_lul.tasks.cohorts import CohortSampler, SamplerState
from lit_lul.tasks.draw import TruncationDraw
from lit_lul.tasks.families import TaskSource
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.image_tasks import ImageTasks
from lit_lul.tasks.settings import Architectures, CohortSettings
from lit_lul.training.ranks import gather
from lit_lul.training.schedules import ProblemLength, UnrollLength

ROLLOUT_SEED = {"validate": 1, "test": 2}
"""Keeps the tasks of validation and test apart from each other and the same in every run."""


class TaskDataModule(LightningDataModule):
    """Samples cohorts of tasks from rendered glyphs and from datasets of images.

    An outer step takes one truncation of every cohort in flight, on every rank; cohorts take turns
    within it. Validation and test roll out fresh cohorts of characters and classes that training
    never sees.

    Args:
        embedding_units: E, units of the base model's top layer; the rule's own.
        seed: the run's seed; with it all data of a run is determined.
        glyphs: tasks of rendered characters.
        images: tasks of image datasets, each under a name of its own.
        data_root: folder that holds datasets under their hub names, searched first; null for the
            environment variable LIT_LUL_DATA.
        sizes: sizes of cohorts and minibatches.
        architectures: base models.
        augmentation: changes to inputs.
        unroll_length: inner steps of a truncation, as a function of the outer step.
        problem_length: inner steps of a cohort's life, as a function of the outer step.
        validation_cohorts: cohorts that validation and test roll out.
        validation_steps: inner steps that they are rolled out for.
    """

    def __init__(
        self,
        embedding_units: int = 32,
        seed: int = 0,
        glyphs: GlyphTasks = GlyphTasks(),
        images: dict[str, ImageTasks] | None = None,
        data_root: str | None = None,
        sizes: CohortSettings = CohortSettings(),
        architectures: Architectures = Architectures(),
        augmentation: Augmentation = Augmentation(),
        unroll_length: UnrollLength = UnrollLength(),
        problem_length: ProblemLength = ProblemLength(),
        validation_cohorts: int = 4,
        validation_steps: int = 50,
    ) -> None:
        super().__init__()
        if validation_cohorts < 1 or validation_steps < 1:
            raise InvalidInput(
                f"{validation_cohorts} validation_cohorts of {validation_steps} validation_steps: "
                "expected one or more of each"
            )
        self.embedding_units, self.seed = embedding_units, seed
        self.glyphs, self.images, self.data_root = glyphs, images or {}, data_root
        self.sizes, self.architectures = sizes, architectures
        self.augmentation = augmentation
        self.unroll_length, self.problem_length = unroll_length, problem_length
        self.validation_cohorts, self.validation_steps = validation_cohorts, validation_steps

    def prepare_data(self) -> None:
        """Render or decode all images into the cache, once per machine."""
        self._load()

    def setup(self, stage: str) -> None:
        """Load all images from the cache."""
        self._training, self._validation = self._load()
        self._on_device = [source.images.images for source in self._training]
        self._held_out_on_device = [source.images.images for source in self._validation]
        self.families = [f.name for source in self._training for f in source.families]
        self.validation_families = [f.name for source in self._validation for f in source.families]

    def train_dataloader(self) -> "TruncationLoader":
        """One `UnrollBatch` after another, without end or for the trainer's outer steps."""
        trainer = self.trainer
        assert trainer is not None, "set by the trainer"
        first_cohort = trainer.global_rank * self.sizes.cohorts
        total = trainer.world_size * self.sizes.cohorts
        sampler = self._sampler(self._training, self.seed, total, first_cohort)
        length = trainer.max_steps * self.sizes.cohorts if trainer.max_steps > 0 else None
        self._loader = TruncationLoader(sampler, length)
        return self._loader

    def val_dataloader(self) -> "RolloutLoader":
        """Whole problems of fresh cohorts, the same in every run."""
        return self._rollouts("validate")

    def test_dataloader(self) -> "RolloutLoader":
        """As `val_dataloader`, other tasks."""
        return self._rollouts("test")

    def cohort_settings(self) -> dict[str, Any]:
        """What the φ of a cohort in flight depends on, as plain values."""
        assert self.trainer is not None, "set by the trainer"
        return {
            "data.seed": self.seed,
            "data.glyphs.side": self.glyphs.side,
            "data.images": {name: str(tasks) for name, tasks in self.images.items()},
            "data.sizes.cohorts × ranks": self.sizes.cohorts * self.trainer.world_size,
            "data.sizes.tasks": self.sizes.tasks,
            "data.architectures": {k: str(v) for k, v in vars(self.architectures).items()},
        }

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a draw; the images follow once and stay there."""
        draw, state = batch
        images = self._held_out_on_device if state is None else self._on_device
        images[draw.source] = images[draw.source].to(device)
        return draw.to(device), state

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> UnrollBatch:
        """Gather, augment and permute on the device, and note how far training has come."""
        draw, state = batch
        images = self._held_out_on_device if state is None else self._on_device
        if state is not None:
            self._loader.state = state
        return make_batch(draw, images[draw.source], self.augmentation.max_shift)

    def _load(self) -> tuple[list[TaskSource], list[TaskSource]]:
        """The sources of training, and those of validation."""
        loaded: list[tuple[TaskSource, TaskSource | None]] = []
        if self.glyphs.weight > 0:
            loaded.append(self.glyphs.load())
        for name, tasks in self.images.items():
            if tasks.weight > 0:
                loaded.append(tasks.load(name, self.data_root))
        validation = [held_out for _, held_out in loaded if held_out is not None]
        if not validation:
            raise InvalidInput("data: expected glyphs or images with held-out classes, with weight")
        return [training for training, _ in loaded], validation

    def _sampler(
        self, sources: list[TaskSource], seed: int, total: int, first_cohort: int
    ) -> CohortSampler:
        return CohortSampler(
            sources,
            self.sizes,
            self.architectures,
            self.augmentation,
            self.unroll_length,
            self.problem_length,
            self.embedding_units,
            seed,
            total,
            first_cohort,
        )

    def _rollouts(self, stage: str) -> "RolloutLoader":
        sampler = self._sampler(self._validation, 0, self.validation_cohorts, 0)
        draws = [
            sampler.draw(
                cohort,
                True,
                0,
                self.validation_steps,
                np.random.default_rng([ROLLOUT_SEED[stage], cohort, 1]),
                np.random.default_rng([ROLLOUT_SEED[stage], cohort, 2]),
            )
            for cohort in range(self.validation_cohorts)
        ]
        return RolloutLoader(draws)


class TruncationLoader:
    """Iterates over draws with the state behind each; sized when the run is.

    Args:
        sampler: draws truncations.
        length: truncations of the whole run, counted from its very start; None for no end.
    """

    def __init__(self, sampler: CohortSampler, length: int | None) -> None:
        self.sampler, self.length = sampler, length
        self.state = SamplerState()

    def __iter__(self) -> Iterator[tuple[TruncationDraw, SamplerState]]:
        """Go on from the state."""
        return self.sampler.iterate(self.state)

    def __len__(self) -> int:
        """Truncations of the run.

        Raises:
            TypeError: when the run has no end.
        """
        if self.length is None:
            raise TypeError("the run has no fixed number of outer steps")
        return self.length

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands: behind the last draw it used, whatever was fetched ahead.

        Ranks call it together; rank 0 gets the cohorts of all of them, by number.
        """
        states = gather(self.state.to_dict())
        slots = [slot for state in states for slot in state["slots"]]
        return self.state.to_dict() | {"slots": slots}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, with this rank's cohorts."""
        first = self.sampler.first_cohort
        slots = state_dict["slots"][first : first + self.sampler.settings.cohorts]
        self.state = SamplerState.from_dict(state_dict | {"slots": slots})


class RolloutLoader:
    """Iterates over draws that leave the training state as it is.

    Args:
        draws: one for each cohort that is rolled out.
    """

    def __init__(self, draws: list[TruncationDraw]) -> None:
        self.draws = draws

    def __iter__(self) -> Iterator[tuple[TruncationDraw, None]]:
        """Each draw, and no state."""
        return ((draw, None) for draw in self.draws)

    def __len__(self) -> int:
        """Cohorts to roll out."""
        return len(self.draws)
