"""From a plan to the tensors of a training step."""

from collections.abc import Callable
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

STATISTICS_STEPS = 4
"""Last inner steps whose minibatches give the statistics of an inductive objective."""


class Needs(NamedTuple):
    """What meta-training needs of the data: all that the module tells the datamodule."""

    device: torch.device
    """The device that trains."""
    dtype: torch.dtype
    """The dtype of θ, in which inputs and targets are given."""
    learns_from: LearnsFrom = "unlabelled"
    """What the learner's inner steps see."""
    unlabelled: bool = False
    """Whether the objective embeds by the statistics of unlabelled examples."""


def realise(plan: Plan, needs: Needs) -> Truncation:
    """Make the tensors of a truncation, all inputs and targets in the dtype of θ.

    Args:
        plan: its plan, on the device.
        needs: what the learner and the objective need.

    Raises:
        InvalidInput: when the learner needs labels of minibatches that the source does not have,
            or one draw of support examples where there are more.
    """
    batches, labelled = plan.source.realise(plan.content, needs.device)
    if needs.unlabelled:
        last = batches.make(slice(max(0, batches.steps - STATISTICS_STEPS), batches.steps))
        labelled = labelled._replace(unlabelled_x=last.transpose(0, 1).flatten(1, 2))

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(needs.dtype) if tensor.is_floating_point() else tensor

    labelled = map_tensors(cast, labelled)
    return Truncation(
        plan.network,
        plan.tasks,
        _seen(batches, labelled, needs.learns_from, cast),
        labelled,
        plan.start_seed,
        plan.noise_seed,
    )


def _seen(
    batches: Batches,
    labelled: Labelled,
    learns_from: LearnsFrom,
    cast: Callable[[Tensor], Tensor],
) -> Minibatches:
    """The batches that a learner's inner steps see."""
    if learns_from == "support":
        if len(labelled.support_x) != 1:
            raise InvalidInput(
                f"data.sizes.draws {len(labelled.support_x)}: a learner that trains on support "
                "examples expects 1"
            )
        return [Batch(labelled.support_x[0], labelled.support_y[0])] * len(batches)
    make, targets = batches.make, batches.targets
    if learns_from == "unlabelled":
        return Batches(batches.steps, lambda steps: cast(make(steps)))
    if targets is None:
        raise InvalidInput("data.sources: the learner expects tasks whose minibatches have labels")
    return Batches(
        batches.steps, lambda steps: cast(make(steps)), lambda steps: cast(targets(steps))
    )
