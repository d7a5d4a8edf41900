"""From a plan to the tensors of a training step."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.estimators.estimator import Minibatches, Truncation
from lit_lul.learners.learner import Batch, LearnsFrom
from lit_lul.objectives.objective import Labelled
from lit_lul.tasks.plan import Plan
from lit_lul.tasks.source import Batches
from lit_lul.trees import map_tensors


class CohortTruncation(NamedTuple):
    """A truncation and its cohort: the argument of a training step."""

    cohort: int
    """Number of the cohort, over all ranks."""
    fresh: bool
    """Whether it starts a new inner problem."""
    age: int
    """Inner steps since the problem began."""
    family: int
    """Index of the task family."""
    counted: bool
    """False for a rollout that another rank does as well."""
    completes: bool
    """Whether it is the last of an outer step."""
    truncation: Truncation


STATISTICS_STEPS = 4
"""Last inner steps whose minibatches give the statistics of an inductive objective."""


def realise(
    plan: Plan,
    device: torch.device,
    dtype: torch.dtype,
    tasks: int,
    counted: bool = True,
    unlabelled: bool = False,
    learns_from: LearnsFrom = "unlabelled",
) -> CohortTruncation:
    """Make the tensors of a truncation.

    Args:
        plan: its plan, on the device.
        device: the device that trains.
        dtype: dtype of θ, inputs and targets.
        tasks: T.
        counted: whether metrics count it.
        unlabelled: whether the objective needs unlabelled examples.
        learns_from: what the learner's inner steps see.

    Raises:
        InvalidInput: when the learner needs labels of minibatches that the source does not have.
    """

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    batches, labelled = plan.source.realise(plan.content, device)
    if unlabelled:
        last = batches.make(slice(max(0, batches.steps - STATISTICS_STEPS), batches.steps))
        labelled = labelled._replace(unlabelled_x=last.transpose(0, 1).flatten(1, 2))
    if dtype != torch.float32:
        labelled = map_tensors(cast, labelled)
        make = batches.make
        batches = Batches(batches.steps, lambda steps: make(steps).to(dtype), batches.targets)
    seen = _seen(batches, labelled, learns_from)
    truncation = Truncation(plan.network, tasks, seen, labelled, plan.start_seed, plan.noise_seed)
    return CohortTruncation(
        cohort=plan.cohort,
        fresh=plan.fresh,
        age=plan.age,
        family=plan.family,
        counted=counted,
        completes=plan.after is not None and plan.after.turn == 0,
        truncation=truncation,
    )


class Repeated:
    """The same batch in each of U inner steps."""

    def __init__(self, steps: int, batch: Batch) -> None:
        self.steps, self.batch = steps, batch

    def __len__(self) -> int:
        """U."""
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        """The batch, U times."""
        return (self.batch for _ in range(self.steps))


def _seen(batches: Batches, labelled: Labelled, learns_from: LearnsFrom) -> Minibatches:
    """The batches that a learner's inner steps see."""
    if learns_from == "support":
        if len(labelled.support_x) != 1:
            raise InvalidInput(
                f"data.sizes.draws {len(labelled.support_x)}: a learner that trains on support "
                "examples expects 1"
            )
        return Repeated(len(batches), Batch(labelled.support_x[0], labelled.support_y[0]))
    if learns_from == "unlabelled":
        return Batches(batches.steps, batches.make)
    if batches.targets is None:
        raise InvalidInput("data.sources: the learner expects tasks whose minibatches have labels")
    return batches
