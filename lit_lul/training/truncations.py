"""From a plan to the tensors of a training step."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.estimators.estimator import Minibatches, Truncation
from lit_lul.learners.learner import Batch, LearnsFrom
from lit_lul.objectives.objective import Labelled
from lit_lul.tasks.plan import Plan
from lit_lul.tasks.source import Batches
from lit_lul.trees import Tree, map_tensors

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
    """Make the tensors of a truncation.

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
    truncation = Truncation(
        plan.network,
        plan.tasks,
        _seen(batches, labelled, needs.learns_from),
        labelled,
        plan.start_seed,
        plan.noise_seed,
    )
    return in_dtype(truncation, needs.dtype)


def in_dtype(truncation: Truncation, dtype: torch.dtype) -> Truncation:
    """The truncation with all its inputs and targets in a dtype."""
    return replace(
        truncation,
        batches=_Cast(truncation.batches, dtype),
        labelled=_cast(truncation.labelled, dtype),
    )


class _Cast:
    """Minibatches in a dtype."""

    def __init__(self, batches: Minibatches, dtype: torch.dtype) -> None:
        self.batches, self.dtype = batches, dtype

    def __len__(self) -> int:
        """U."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """One minibatch after another."""
        return (_cast(batch, self.dtype) for batch in self.batches)


def _cast(tree: Tree, dtype: torch.dtype) -> Tree:
    """The tree with its floating-point tensors in a dtype."""

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return map_tensors(cast, tree)


def _seen(batches: Batches, labelled: Labelled, learns_from: LearnsFrom) -> Minibatches:
    """The batches that a learner's inner steps see."""
    if learns_from == "support":
        if len(labelled.support_x) != 1:
            raise InvalidInput(
                f"data.sizes.draws {len(labelled.support_x)}: a learner that trains on support "
                "examples expects 1"
            )
        return [Batch(labelled.support_x[0], labelled.support_y[0])] * len(batches)
    if learns_from == "unlabelled":
        return Batches(batches.steps, batches.make)
    if batches.targets is None:
        raise InvalidInput("data.sources: the learner expects tasks whose minibatches have labels")
    return batches
