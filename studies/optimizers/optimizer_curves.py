"""Optimizers on the problems that learned ones are meta-trained for: loss against steps.

Shapes: T draws of a problem.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Literal

import torch
from lit_lul.report.stored_rows import DEVICE, Numbers, RowFile, digest, rule_key
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer, RMSprop

from lit_lul.apply.optim import Learned
from lit_lul.errors import InvalidInput
from lit_lul.estimators.estimator import Truncation, seeded
from lit_lul.learners import LSTMOptimizer
from lit_lul.networks import Networks, Params
from lit_lul.objectives.objective import Objective
from lit_lul.objectives.supervised import LOSSES, predict
from lit_lul.tasks import Source, TaskSource
from lit_lul.tasks.schedules import ProblemLength, UnrollLength
from lit_lul.tasks.sizes import Sizes
from lit_lul.tasks.source import Seeds
from lit_lul.tasks.stream import TaskStream
from lit_lul.training.truncations import Needs, realise
from lit_lul.trees import map_tensors, tensors_of

LEARNED = "learned"
BASELINES: dict[str, Callable[..., Optimizer]] = {
    "SGD": SGD,
    "momentum": partial(SGD, momentum=0.9),
    "RMSprop": RMSprop,
    "Adam": Adam,
}
"""Each takes parameters and a rate `lr`; all of them treat coordinates, and so tasks, alike."""
TUNING_SEED, REPORT_SEED = 1, 2


@dataclass(frozen=True)
class Problem:
    """A problem for optimizers: to train new networks on the tasks of a source.

    Raises:
        InvalidInput: for a number below one, or fewer than two draws.
    """

    learner: str
    """The learned optimizer: a shipped one by name, or a file of θ."""
    source: Source
    """Where the tasks are from."""
    networks: Networks
    """A set of one network."""
    objective: Objective
    """The loss that is reported."""
    steps: int = 100
    """Steps of an optimizer."""
    batch_size: int = 128
    """B."""
    labels_per_class: int = 50
    """Examples of each class that the loss is measured on."""
    draws: int = 8
    """Tasks, with initial φ and minibatches of their own, that are reported."""
    tuning_draws: int = 4
    """Other ones, on which rates are chosen."""
    claim: Literal["best", "fails"] | None = None
    """What the paper says of the learned optimizer: below every tuned one, or not."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "labels_per_class", "tuning_draws"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} {getattr(self, name)}: expected one or more")
        if self.draws < 2:
            raise InvalidInput(f"draws {self.draws}: expected two or more, for standard errors")


@dataclass
class Measured:
    """The rows of one problem, and the file that stores them between runs.

    Args:
        name: name of the problem.
        problem: its settings.
        learner: the learned optimizer.
        rates: rates that each baseline is tuned over.
        path: JSON file, rewritten after every measurement.

    Raises:
        InvalidInput: when the file exists and is not such a file.
    """

    name: str
    problem: Problem
    learner: LSTMOptimizer
    rates: Sequence[float]
    path: Path

    def __post_init__(self) -> None:
        self._file = RowFile(self.name, self.path, Numbers)
        # the claim and the name of the learner's file do not change numbers
        protocol = repr(replace(self.problem, learner="", claim=None))
        loss = self.learner.settings.loss
        self._keys = {LEARNED: rule_key(protocol, "float32", self.learner)}
        for name in BASELINES:
            self._keys[name] = digest([protocol, loss, name, list(self.rates)])

    def missing(self) -> list[str]:
        """Names of the optimizers that are not measured yet."""
        return [name for name, key in self._keys.items() if not self._file.has(name, key)]

    def rows(self) -> dict[str, Numbers]:
        """Rows by name of the optimizer, as far as they are measured."""
        return self._file.current(self._keys)

    def measure(self, name: str, tasks: TaskSource) -> None:
        """Measure one optimizer, after its rate has been chosen, and store the row."""
        values: dict[str, object] = {}
        if name == LEARNED:
            make: Callable[[list[Tensor]], Optimizer] = partial(Learned, rule=self.learner)
        else:
            of_rates = [self._last(partial(BASELINES[name], lr=rate), tasks) for rate in self.rates]
            values = {"rates": list(self.rates), "tuning": of_rates}
            make = partial(BASELINES[name], lr=self.rates[of_rates.index(min(of_rates))])
        truncation = self._draw(tasks, REPORT_SEED, self.problem.draws)
        losses = torch.stack(
            [self._loss(params, truncation) for params in self._train(make, truncation)]
        )
        values |= {
            "mean": losses.mean(1).tolist(),
            "standard_error": (losses.std(1) / losses.shape[1] ** 0.5).tolist(),
            "last": losses[-1].tolist(),
        }
        self._file.keep(name, Numbers(self._keys[name], values), repr(self.problem))

    def _last(self, make: Callable[[list[Tensor]], Optimizer], tasks: TaskSource) -> float:
        """Mean loss after the last step on the draws for tuning; infinite if it is undefined."""
        truncation = self._draw(tasks, TUNING_SEED, self.problem.tuning_draws)
        for after in self._train(make, truncation):
            params = after
        mean = float(self._loss(params, truncation).mean())
        return mean if mean < inf else inf  # NaN too

    def _draw(self, tasks: TaskSource, seed: int, draws: int) -> Truncation:
        """Draws of the problem, all steps of them."""
        problem = self.problem
        sizes = Sizes(1, draws, problem.batch_size, problem.labels_per_class, draws=1)
        outputs = self.learner.embedding_units
        stream = TaskStream(
            [tasks], problem.networks, sizes, UnrollLength(), ProblemLength(), outputs, seed
        )
        seeds = Seeds([seed, 0], [seed, 1])
        plan = stream.plan(0, stream.families[0], problem.steps, seeds)
        return realise(plan, Needs(DEVICE, torch.float32, "labelled"))

    def _train(
        self, make: Callable[[list[Tensor]], Optimizer], truncation: Truncation
    ) -> Iterator[Params]:
        """Yields φ of T tasks, before the first step and after each one; it changes in place."""
        network, loss = truncation.network, LOSSES[self.learner.settings.loss]
        params = network.init(truncation.tasks, seeded(truncation.start_seed, DEVICE))
        params = map_tensors(Tensor.requires_grad_, params)
        optimizer = make([tensor for _, tensor in tensors_of(params)])
        yield params
        for batch in truncation.batches:
            assert batch.y is not None
            optimizer.zero_grad()
            outputs = predict(network, params, batch.x, batch.y)
            loss(outputs, batch.y).sum().backward()
            optimizer.step()
            yield params

    @torch.no_grad()
    def _loss(self, params: Params, truncation: Truncation) -> Tensor:
        """The loss of T tasks, (T,), float64 on the CPU."""
        return (
            self.problem.objective(truncation.network, params, truncation.labelled)
            .loss.double()
            .cpu()
        )
