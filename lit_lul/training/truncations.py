"""From a plan to the tensors of a training step."""

from typing import NamedTuple

import torch
from torch import Tensor

from lit_lul.estimators.estimator import Truncation
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
) -> CohortTruncation:
    """Make the tensors of a truncation.

    Args:
        plan: its plan, on the device.
        device: the device that trains.
        dtype: dtype of θ, inputs and targets.
        tasks: T.
        counted: whether metrics count it.
        unlabelled: whether the objective needs unlabelled examples.
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
        batches = Batches(batches.steps, lambda steps: make(steps).to(dtype))
    truncation = Truncation(
        plan.network, tasks, batches, labelled, plan.start_seed, plan.noise_seed
    )
    return CohortTruncation(plan.cohort, plan.fresh, plan.age, plan.family, counted, truncation)
