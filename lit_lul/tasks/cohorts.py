"""Cohorts: T tasks that share architecture and age, and what a truncation of theirs needs.

Everything random about a truncation follows from (seed, cohort, generation, truncation), and the
number of its inner steps from (seed, outer step). So a run goes on where it stopped from four
integers per cohort, ranks differ by their cohorts, and all cohorts of an outer step take as many
inner steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.tasks.augmentation import COEFFICIENTS, Augmentation, sample_placement
from lit_lul.tasks.balance import Bounds, strata
from lit_lul.tasks.draw import TruncationDraw
from lit_lul.tasks.families import Family, TaskSource
from lit_lul.tasks.settings import Architectures, CohortSettings
from lit_lul.tasks.transforms.prints import Prints, sample_kinds
from lit_lul.training.schedules import ProblemLength, UnrollLength

_LENGTH, _TASKS, _TRUNCATION, _STEPS = 1, 2, 3, 4
"""What a generator is for; part of its seed."""


@dataclass
class _Slot:
    """Where one cohort stands."""

    generation: int = -1
    truncation: int = 0
    age: int = 0
    length: int = 0


@dataclass
class SamplerState:
    """Where the sampler of one rank stands; plain integers."""

    outer_step: int = 0
    turn: int = 0
    """Cohorts that have had their truncation of this outer step."""
    slots: list[_Slot] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As nested dicts and lists."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> "SamplerState":
        """From what `to_dict` gave."""
        slots = [_Slot(**slot) for slot in state["slots"]]
        return cls(state["outer_step"], state["turn"], slots)


class CohortSampler:
    """Draws truncations, cohorts in turn.

    Args:
        sources: images, with the kinds of task made of them and their weights.
        settings: sizes.
        architectures: base models.
        augmentation: changes to inputs.
        unroll_length: U as a function of the outer step.
        problem_length: inner steps of a cohort's life as a function of the outer step.
        embedding_units: E.
        seed: the run's seed.
        total: cohorts of all ranks.
        first_cohort: number of this rank's first cohort.

    Raises:
        InvalidInput: when a class has fewer images than the labelled batches ask for.
    """

    def __init__(
        self,
        sources: Sequence[TaskSource],
        settings: CohortSettings,
        architectures: Architectures,
        augmentation: Augmentation,
        unroll_length: UnrollLength,
        problem_length: ProblemLength,
        embedding_units: int,
        seed: int,
        total: int,
        first_cohort: int = 0,
    ) -> None:
        self.sources, self.settings = sources, settings
        self.families = [family for source in sources for family in source.families]
        self._source = np.array([i for i, s in enumerate(sources) for _ in s.families])
        inputs = [source.images.inputs for source in sources for _ in source.families]
        self._by_inputs = np.argsort(inputs, kind="stable")
        self._strata = strata(total)
        self.architectures, self.augmentation = architectures, augmentation
        self.unroll_length, self.problem_length = unroll_length, problem_length
        self.embedding_units, self.seed, self.first_cohort = embedding_units, seed, first_cohort
        for images, families in sources:
            for family in families:
                _check_labels(images, family, settings.labels_per_class)

    def iterate(self, state: SamplerState) -> Iterator[tuple[TruncationDraw, SamplerState]]:
        """Draw truncations without end, each with the state that follows it."""
        while True:
            state = SamplerState.from_dict(state.to_dict())
            state.slots = state.slots or [_Slot() for _ in range(self.settings.cohorts)]
            cohort = self.first_cohort + state.turn
            draw = self._advance(state.slots[state.turn], cohort, state.outer_step)
            completed, state.turn = divmod(state.turn + 1, self.settings.cohorts)
            state.outer_step += completed
            yield draw, state

    def _advance(self, slot: _Slot, cohort: int, outer_step: int) -> TruncationDraw:
        fresh = slot.age >= slot.length
        if fresh:
            slot.generation, slot.truncation, slot.age = slot.generation + 1, 0, 0
            rng = self._rng(cohort, slot.generation, _LENGTH)
            slot.length = self.problem_length.sample(outer_step, rng)
            if slot.generation == 0:  # start within the first problem, so that ages differ at once
                slot.length = max(1, round(slot.length * rng.random()))
        rng = self._rng(cohort, slot.generation, _TRUNCATION, slot.truncation)
        steps = self.unroll_length.sample(outer_step, self._rng(0, outer_step, _STEPS))
        tasks_rng = self._rng(cohort, slot.generation, _TASKS)
        draw = self.draw(cohort, fresh, slot.age, steps, tasks_rng, rng)
        slot.truncation += 1
        slot.age += steps
        return draw

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def draw(
        self,
        cohort: int,
        fresh: bool,
        age: int,
        steps: int,
        tasks_rng: np.random.Generator,
        rng: np.random.Generator,
    ) -> TruncationDraw:
        """Draw one truncation of U = `steps` inner steps.

        Args:
            cohort: its number.
            fresh: whether φ starts anew.
            age: inner steps so far.
            steps: U.
            tasks_rng: the same for every truncation of a cohort: tasks and architecture.
            rng: this truncation's own: examples and their placement.
        """
        tasks, batch, draws = self.settings.tasks, self.settings.batch_size, self.settings.draws
        stratum = self._strata[cohort]
        source, family, classes = self._sample_tasks(stratum.family, tasks_rng)
        ways = classes.shape[1]
        images = self.sources[source].images
        n_inputs = images.inputs
        quantile = tasks_rng.uniform(*stratum.architecture)
        base_model = self.architectures.at(quantile, n_inputs, self.embedding_units)
        families = [self.families[i] for i in family]
        inputs = self.augmentation.sample_inputs(families, n_inputs, tasks_rng)
        phi_seed = int(tasks_rng.integers(2**62))
        transformed = np.array([f.transformed for f in families])
        distortion = np.array([f.distortion for f in families])
        shifted = inputs.image_shift.numpy()
        printed = np.flatnonzero(inputs.ink.numpy())
        shared = [sample_kinds(families[i].pool, ways, tasks_rng) for i in printed]

        start, count = images.class_start.numpy(), images.class_sizes.numpy()
        which = rng.integers(ways, size=(steps, tasks, batch))
        chosen = np.take_along_axis(classes[None], which, axis=2)
        rows = start[chosen] + rng.integers(count[chosen])

        k = self.settings.labels_per_class
        counts = np.broadcast_to(count[classes], (draws, tasks, ways))
        labelled = start[classes][..., None] + distinct(counts, 2 * k, rng)
        labelled = labelled.reshape(draws, tasks, ways, 2, k).swapaxes(2, 3)

        bent = inputs.elastic.numpy() > 0
        moves = bool((transformed | shifted | (distortion > 0) | bent).any())
        max_shift = self.augmentation.max_shift

        def placement(shape: tuple[int, ...], of: np.ndarray) -> Tensor | None:
            if not moves:
                return None
            return sample_placement(
                shape, transformed[of], shifted[of], max_shift, distortion[of], rng
            )

        def prints(members: np.ndarray) -> Prints | None:
            """Of classes (..., P, B) of the printed tasks."""
            if not shared:
                return None
            chosen = np.take_along_axis(np.stack(shared)[None], members, axis=2)
            for i in np.flatnonzero(inputs.filled.numpy()[printed]):
                pool = families[printed[i]].pool
                chosen[:, i] = rng.choice(pool, size=chosen[:, i].shape)
            rows = start[chosen] + rng.integers(count[chosen])
            placed = placement(rows.shape, printed)
            return Prints(torch.from_numpy(printed), torch.from_numpy(rows), placed)

        members = np.tile(np.arange(ways).repeat(k), 2)
        columns = ways + (len(COEFFICIENTS) if transformed.any() else 0)
        is_class = torch.arange(columns).expand(tasks, columns) < ways
        return TruncationDraw(
            cohort=cohort,
            fresh=fresh,
            age=age,
            base_model=base_model,
            phi_seed=phi_seed,
            mask_seed=int(rng.integers(2**62)),
            source=source,
            family=torch.from_numpy(family),
            inputs=inputs,
            unlabelled_rows=torch.from_numpy(rows),
            unlabelled_placement=placement(rows.shape, np.arange(tasks)),
            unlabelled_prints=prints(which[:, printed]),
            labelled_rows=torch.from_numpy(labelled.reshape(draws, tasks, -1)),
            labelled_placement=placement((draws, tasks, 2 * ways * k), np.arange(tasks)),
            labelled_prints=prints(np.broadcast_to(members, (draws, len(printed), 2 * ways * k))),
            classes=torch.from_numpy(members),
            is_class=is_class,
            is_target=is_class | torch.from_numpy(transformed)[:, None],
        )

    def _sample_tasks(
        self, quantiles: Bounds, rng: np.random.Generator
    ) -> tuple[int, np.ndarray, np.ndarray]:
        """Draw the tasks of a cohort: of one source and number of ways, families by their weights.

        The first family is one of those between two quantiles, sorted by their inputs.

        Returns:
            The source, and for each task its family (T,) and classes (T, ways).
        """
        weights = np.array([family.weight for family in self.families])
        all_ways = np.array([family.ways for family in self.families])
        shares = weights[self._by_inputs].cumsum() / weights.sum()
        first = self._by_inputs[(shares[:-1] <= rng.uniform(*quantiles)).sum()]
        source, ways = int(self._source[first]), int(all_ways[first])
        weights = weights * (all_ways == ways) * (self._source == source)
        family = rng.choice(len(weights), size=self.settings.tasks, p=weights / weights.sum())
        classes = [rng.choice(self.families[i].pool, size=ways, replace=False) for i in family]
        return source, family, np.stack(classes)


def _check_labels(images: ImageSet, family: Family, labels_per_class: int) -> None:
    count, pool = images.class_sizes.numpy(), np.array(family.pool)
    poorest = int(pool[count[pool].argmin()])
    if count[poorest] < 2 * labels_per_class:
        raise InvalidInput(
            f"{family.name}: class {images.class_names[poorest]!r} has {count[poorest]} images, "
            f"{labels_per_class} labels per class need {2 * labels_per_class}"
        )


def distinct(counts: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Draw k different indices below each count, in random order: (...) to (..., k).

    Floyd's algorithm, for all counts at once.
    """
    chosen = np.empty((*counts.shape, 0), dtype=np.int64)
    for i in range(k):
        last = counts - k + i
        candidate = rng.integers(last + 1)
        taken = (chosen == candidate[..., None]).any(-1)
        chosen = np.concatenate([chosen, np.where(taken, last, candidate)[..., None]], axis=-1)
    return rng.permuted(chosen, axis=-1)
