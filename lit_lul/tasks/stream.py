"""The stream of truncations: cohorts in turn, each with a task family, network and length.

A cohort is T tasks of one family, network and age, which advance together. Everything random about
a truncation is determined by (seed, cohort, generation, truncation), and the number of its inner
steps by (seed, outer step, round). So a run resumes from a few integers per cohort, ranks differ
only by their cohorts, and all cohorts of a round take the same number of inner steps.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from lit_lul.networks.network import Networks
from lit_lul.tasks.plan import Plan, Slot, StreamState
from lit_lul.tasks.schedules import THE_END, ProblemLength, Rounds, UnrollLength, weight_at
from lit_lul.tasks.sizes import Sizes
from lit_lul.tasks.source import Family, Seeds, TaskSource

Bounds = tuple[float, float]
"""An interval of quantiles within 0 to 1."""


class Stratum(NamedTuple):
    """The quantiles that a cohort draws from."""

    network: Bounds
    """Quantiles of the networks, sorted by cost."""
    family: Bounds
    """Quantiles of the task families, sorted by their inputs."""


def strata(total: int) -> list[Stratum]:
    """The strata of all cohorts of a run, by cohort number.

    Two cohorts share each stratum of networks: one draws from the cheaper half of the families,
    the other from the more expensive half. If the number of cohorts is odd, the last draws from all
    families. Over all cohorts, networks and families therefore have the same distribution as
    without strata, and are independent. Bit-reversed numbers (van der Corput) spread any block of
    consecutive cohorts, such as those of one rank, evenly over both.
    """
    by_reversed_bits = sorted(range(total), key=lambda cohort: f"{cohort:032b}"[::-1])
    found = {}
    for place, cohort in enumerate(by_reversed_bits):
        first = place - place % 2
        last = min(first + 2, total)
        half = place.bit_count() % 2 / 2
        family = (half, half + 0.5) if last - first == 2 else (0.0, 1.0)
        found[cohort] = Stratum((first / total, last / total), family)
    return [found[cohort] for cohort in range(total)]


_LENGTH, _TASKS, _TRUNCATION, _STEPS, _COHORT, _SIZES = 1, 2, 3, 4, 5, 6
"""Purposes of random generators; part of their seeds."""


class TaskStream:
    """An endless iterator over plans of truncations, one cohort after another.

    Args:
        sources: sources of tasks.
        networks: networks that cohorts draw from.
        sizes: sizes of cohorts and tasks.
        unroll_length: U as a function of the outer step.
        problem_length: inner steps of an inner problem as a function of the outer step.
        embedding_units: E.
        seed: determines everything random.
        rank: rank of this stream.
        world: number of ranks, each with `sizes.cohorts` cohorts.
        rounds: truncations of each cohort in an outer step, as a function of the outer step.
    """

    def __init__(
        self,
        sources: list[TaskSource],
        networks: Networks,
        sizes: Sizes,
        unroll_length: UnrollLength,
        problem_length: ProblemLength,
        embedding_units: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        rounds: Rounds = Rounds(),
    ) -> None:
        self.sizes, self.networks, self.embedding_units = sizes, networks, embedding_units
        self.unroll_length, self.problem_length = unroll_length, problem_length
        self.rounds = rounds
        self.seed, self.first_cohort = seed, rank * sizes.cohorts
        self.strata = strata(world * sizes.cohorts)
        every = [(source, family) for source in sources for family in source.families]
        self._choices: list[tuple[TaskSource, Family]] = every
        self.families = [family.name for _, family in every]
        inputs = [family.inputs for _, family in every]
        self._by_inputs = np.argsort(inputs, kind="stable")
        self.state = StreamState()

    def __iter__(self) -> Iterator[Plan]:
        """Plan truncations from `state` on; call `used` for each that is part of the run.

        An outer step ends with a round, also where a resumed run was further in it than `rounds`.
        """
        state, cohorts = self.state, self.sizes.cohorts
        while True:
            state = deepcopy(state)
            state.slots = state.slots or [Slot() for _ in range(cohorts)]
            rounds_done, place = divmod(state.turn, cohorts)
            cohort = self.first_cohort + place
            plan = self._advance(state.slots[place], cohort, state.outer_step, rounds_done)
            state.turn += 1
            if place == cohorts - 1 and rounds_done + 1 >= self.rounds.at(state.outer_step):
                state.turn, state.outer_step = 0, state.outer_step + 1
            plan.after = state
            yield plan

    def used(self, plan: Plan) -> None:
        """Note that a truncation is part of the run, so that `state_dict` counts it."""
        if plan.after is not None:
            self.state = plan.after

    def state_dict(self) -> dict[str, Any]:
        """The state after the last used truncation, as plain values."""
        return asdict(self.state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume from a `state_dict`, with this rank's cohorts of all `slots`."""
        slots = [Slot(**slot) for slot in state_dict["slots"]]
        if len(slots) > self.sizes.cohorts:
            slots = slots[self.first_cohort :][: self.sizes.cohorts]
        self.state = StreamState(state_dict["outer_step"], state_dict["turn"], slots)

    def _advance(self, slot: Slot, cohort: int, outer_step: int, rounds_done: int) -> Plan:
        fresh = not 0 < slot.age < slot.length or slot.family not in self.families
        if fresh:
            slot.generation, slot.truncation, slot.age = slot.generation + 1, 0, 0
            rng = self._rng(cohort, slot.generation, _LENGTH)
            slot.length = self.problem_length.sample(outer_step, rng)
            if slot.generation == 0:  # start within the first problem, so that ages differ at once
                slot.length = max(1, round(slot.length * rng.random()))
            rng = self._rng(cohort, slot.generation, _COHORT)
            slot.family = self.sample_family(self.strata[cohort], rng, outer_step)
        rng = self._rng(rounds_done, outer_step, _STEPS)
        steps = self.unroll_length.sample(outer_step, rng)
        problem = [self.seed, cohort, slot.generation]
        seeds = Seeds([*problem, _TASKS], [*problem, _TRUNCATION, slot.truncation])
        plan = self.plan(cohort, slot.family, steps, seeds, fresh, slot.age)
        slot.truncation += 1
        slot.age += steps
        return plan

    def plan(
        self, cohort: int, family: str, steps: int, seeds: Seeds, fresh: bool = True, age: int = 0
    ) -> Plan:
        """Plan one truncation of U = `steps` inner steps; the seeds determine all that is random.

        The cohort's number determines its stratum of networks. An inner problem that is not
        `fresh` began `age` inner steps ago.
        """
        number = self.families.index(family)
        source, kind = self._choices[number]
        of_cohort = np.random.default_rng([*seeds.tasks, _COHORT])
        quantile = of_cohort.uniform(*self.strata[cohort].network)
        sizes = self.sizes.sample(np.random.default_rng([*seeds.tasks, _SIZES]))
        return Plan(
            cohort=cohort,
            fresh=fresh,
            age=age,
            network=self.networks.at(quantile, kind.inputs, self.embedding_units),
            tasks=sizes.tasks,
            family=number,
            source=source,
            content=source.plan(kind, steps, sizes, seeds),
            start_seed=int(of_cohort.integers(2**62)),
            noise_seed=int(np.random.default_rng([*seeds.truncation, _COHORT]).integers(2**62)),
        )

    def rollouts(self, seed: int, steps: int, cohorts: Iterable[int]) -> Iterator[Plan]:
        """Plan one truncation of `steps` inner steps for each of some cohorts, from new states.

        Families have the weights of the end of training.
        """
        for cohort in cohorts:
            rng = np.random.default_rng([seed, cohort])
            family = self.sample_family(self.strata[cohort], rng)
            seeds = Seeds([seed, cohort, _TASKS], [seed, cohort, _TRUNCATION])
            yield self.plan(cohort, family, steps, seeds)

    def sample_family(
        self, stratum: Stratum, rng: np.random.Generator, outer_step: float = THE_END
    ) -> str:
        """Draw a family within a stratum's quantiles, of families sorted by number of inputs.

        Families have their weights of the outer step; one without weight is not drawn.
        """
        weights = np.array([weight_at(family.weight, outer_step) for _, family in self._choices])
        drawn = self._by_inputs[weights[self._by_inputs] > 0]
        shares = weights[drawn].cumsum() / weights[drawn].sum()
        place = int((shares[:-1] <= rng.uniform(*stratum.family)).sum())
        return self.families[int(drawn[place])]

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])
