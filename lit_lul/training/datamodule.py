"""TaskDataModule: Lightning's view of the stream of truncations, and the loaders of it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from lightning import LightningDataModule

from lit_lul.constraints import NonNegativeInt, PositiveInt, check_arguments
from lit_lul.errors import InvalidInput
from lit_lul.networks import MLPs, Networks
from lit_lul.tasks import GlyphTasks, ImageTasks, Source, TaskSource
from lit_lul.tasks.plan import Plan
from lit_lul.tasks.schedules import (
    THE_END,
    ProblemLength,
    Rounds,
    UnrollLength,
    is_drawn,
    weight_at,
)
from lit_lul.tasks.sizes import Sizes
from lit_lul.tasks.stream import TaskStream
from lit_lul.training.ranks import gather

ROLLOUT_SEED = {"validate": 1, "test": 2}
"""Seeds of the tasks of validation and test: different, and the same in every run."""


class StreamLoader:
    """Loads a stream of truncations; Lightning saves and resumes it.

    Args:
        stream: this rank's stream.
        length: truncations of the complete run, counted from its start; None for no end.
    """

    def __init__(self, stream: TaskStream, length: int | None) -> None:
        self.stream, self.length = stream, length

    def __iter__(self) -> Iterator[Plan]:
        """Plans from the last used truncation on; all of them count."""
        return iter(self.stream)

    def __len__(self) -> int:
        """Truncations of the run; a TypeError, as Python expects, where it has no end."""
        if self.length is None:
            raise TypeError("the run has no fixed number of outer steps")
        return self.length

    def state_dict(self) -> dict[str, Any]:
        """The state of the stream; all ranks must call it, rank 0 gets all ranks' cohorts."""
        mine = self.stream.state_dict()
        return mine | {"slots": [slot for rank in gather(mine) for slot in rank["slots"]]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a state, with this rank's cohorts."""
        self.stream.load_state_dict(state_dict)


class RolloutLoader:
    """Loads one long truncation of each of some cohorts, from new states.

    Args:
        stream: its number of cohorts must be that of all ranks together.
        seed: seed of the tasks.
        steps: inner steps of each rollout.
        mine: numbers of this rank's cohorts.
    """

    def __init__(self, stream: TaskStream, seed: int, steps: int, mine: range) -> None:
        self.stream, self.seed, self.steps, self.mine = stream, seed, steps, mine

    def __iter__(self) -> Iterator[Plan]:
        """A plan for each cohort; a rank without any repeats the first, uncounted."""
        for plan in self.stream.rollouts(self.seed, self.steps, self.mine or range(1)):
            plan.counted = bool(self.mine)
            yield plan

    def __len__(self) -> int:
        """Number of rollouts."""
        return len(self.mine) or 1


class TaskDataModule(LightningDataModule):
    """Lightning's datamodule: truncations of cohorts of tasks, from any number of sources.

    A round takes one truncation of every cohort in flight, in turn, on every rank; an outer step
    has one round or more. Validation and test roll out new cohorts of characters and classes that
    training never sees, of sources with their weights at the end of training.

    Args:
        embedding_units: E, units of the networks' top layer; the learner's own.
        seed: the run's seed, which determines all its data.
        sources: task sources by name.
        data_root: folder of datasets under their hub names, searched first; null for the
            environment variable LIT_LUL_DATA.
        sizes: sizes of cohorts and minibatches.
        networks: networks that cohorts draw from.
        unroll_length: inner steps of a truncation, as a function of the outer step.
        problem_length: inner steps of a cohort's life, as a function of the outer step.
        rounds: truncations of each cohort in an outer step, as a function of the outer step.
        validation_cohorts: cohorts that validation and test roll out.
        validation_steps: inner steps of these rollouts; 0 for a learner that needs none.
    """

    def __init__(
        self,
        embedding_units: int = 32,
        seed: int = 0,
        sources: dict[str, Source] = {"glyphs": GlyphTasks()},
        data_root: str | None = None,
        sizes: Sizes = Sizes(),
        networks: Networks = MLPs(),
        unroll_length: UnrollLength = UnrollLength(),
        problem_length: ProblemLength = ProblemLength(),
        rounds: Rounds = Rounds(),
        validation_cohorts: PositiveInt = 4,
        validation_steps: NonNegativeInt = 50,
    ) -> None:
        super().__init__()
        check_arguments(TaskDataModule.__init__, locals())
        self.embedding_units, self.seed = embedding_units, seed
        self.sources, self.data_root = sources, data_root
        self.sizes, self.networks, self.rounds = sizes, networks, rounds
        self.unroll_length, self.problem_length = unroll_length, problem_length
        self.validation_cohorts, self.validation_steps = validation_cohorts, validation_steps

    def prepare_data(self) -> None:
        """Render or decode all images into the cache, once per machine."""
        self._load()

    def setup(self, stage: str) -> None:
        """Load all images from the cache."""
        self.training, self.validation = self._load()
        self.families = [f.name for source in self.training for f in source.families]
        self.validation_families = [f.name for source in self.validation for f in source.families]

    def stream(
        self,
        sources: list[TaskSource],
        sizes: Sizes | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> TaskStream:
        """A stream of truncations with this configuration."""
        return TaskStream(
            sources,
            self.networks,
            sizes or self.sizes,
            self.unroll_length,
            self.problem_length,
            self.embedding_units,
            seed,
            rank,
            world,
            self.rounds,
        )

    def truncations(self, outer_steps: int) -> int:
        """Truncations that one rank takes in the first outer steps."""
        return self.rounds.before(outer_steps) * self.sizes.cohorts

    def train_dataloader(self) -> StreamLoader:
        """The stream of truncations, endless or as long as the trainer's outer steps."""
        trainer = self.trainer
        assert trainer is not None, "set by the trainer"
        rank, world = trainer.global_rank, trainer.world_size
        stream = self.stream(self.training, seed=self.seed, rank=rank, world=world)
        length = self.truncations(trainer.max_steps) if trainer.max_steps > 0 else None
        self._loader = StreamLoader(stream, length)
        return self._loader

    def val_dataloader(self) -> list[RolloutLoader]:
        """Rollouts of new cohorts, the same in every run."""
        return [self._rollouts("validate")]

    def test_dataloader(self) -> list[RolloutLoader]:
        """As `val_dataloader`, with other tasks."""
        return [self._rollouts("test")]

    @property
    def datasets(self) -> set[str]:
        """Names of the image datasets that the sources use."""
        sources = self.sources.values()
        return {source.images.dataset for source in sources if isinstance(source, ImageTasks)}

    def cohort_settings(self) -> dict[str, Any]:
        """All settings that a cohort's state depends on, as plain values; weights do not count."""
        assert self.trainer is not None, "set by the trainer"
        return {
            "data.seed": self.seed,
            "data.sizes.cohorts × ranks": self.sizes.cohorts * self.trainer.world_size,
            "data.sizes.tasks": self.sizes.tasks,
            "data.networks": str(self.networks),
        } | {
            f"data.sources.{name}.{setting}": str(value)
            for name, source in self.sources.items()
            for setting, value in vars(source).items()
            if is_drawn(source.weight) and setting != "weight"
        }

    def transfer_batch_to_device(
        self, batch: Plan, device: torch.device, dataloader_idx: int
    ) -> Plan:
        """Move a plan to the device, and note it as used; the module makes its tensors."""
        if batch.after is not None:
            self._loader.stream.used(batch)
        return batch.to(device)

    def _load(self) -> tuple[list[TaskSource], list[TaskSource]]:
        """The sources of training, and the sources of validation."""
        drawn = {n: source for n, source in self.sources.items() if is_drawn(source.weight)}
        if not any(weight_at(source.weight, 0) > 0 for source in drawn.values()):
            raise InvalidInput("data.sources must have a source with weight at outer step 0")
        loaded = [source.load(name, self.data_root) for name, source in drawn.items()]
        validation = [held_out for _, held_out in loaded if held_out is not None]
        ends = [weight_at(f.weight, THE_END) for source in validation for f in source.families]
        if not any(ends):
            raise InvalidInput(
                "data.sources must have a source with held-out classes, with weight at the end"
            )
        return [training for training, _ in loaded], validation

    def _rollouts(self, stage: str) -> RolloutLoader:
        """Rollouts of this rank's cohorts."""
        assert self.trainer is not None, "set by the trainer"
        sizes = replace(self.sizes, cohorts=self.validation_cohorts)
        stream = self.stream(self.validation, sizes)
        rank, world = self.trainer.global_rank, self.trainer.world_size
        mine = range(self.validation_cohorts)[rank::world]
        return RolloutLoader(stream, ROLLOUT_SEED[stage], self.validation_steps, mine)
