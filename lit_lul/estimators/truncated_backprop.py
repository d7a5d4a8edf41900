"""Backpropagation through one truncation: U inner steps, then the objective."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lit_lul.estimators.estimator import (
    Carry,
    Estimator,
    Outcome,
    Truncation,
    device_of,
    seeded,
)
from lit_lul.learners.learner import Batch, Learner, State
from lit_lul.networks.network import Network
from lit_lul.objectives.objective import Objective, Score
from lit_lul.trees import Tree, detach, map_tensors


@dataclass(frozen=True)
class TruncatedBackprop(Estimator):
    """The exact gradient of a truncation, which ignores all that happened before it.

    That is the gradient of section 4.1 and algorithm 1. Its carry is the learner's state. Into the
    start of new tasks gradient flows, where a start depends on θ. A loss of NaN may have a finite
    gradient: check both.
    """

    recompute: bool = True
    """Whether to keep only the state of every step and to compute its activations again for the
    gradient: about a third more work, and memory that hardly grows with U."""

    def __call__(
        self, learner: Learner, objective: Objective, carry: Carry | None, truncation: Truncation
    ) -> Outcome:
        """Run a truncation and take its gradient; nothing is left in `.grad` of θ."""
        state = advance(learner, detach(carry), truncation, self.recompute)
        score = objective(truncation.network, learner.parameters_of(state), truncation.labelled)
        parts = torch.autograd.grad(
            score.loss.mean(), list(learner.parameters()), materialize_grads=True
        )
        return Outcome(
            flatten(parts), detached_copy(state), Score(*(part.detach() for part in score))
        )


def unroll(
    learner: Learner,
    network: Network,
    state: State,
    batches: Iterable[Batch],
    recompute: bool = False,
) -> State:
    """The state of T tasks after an inner step on every batch.

    Args:
        learner: gradient flows into its θ where gradients are enabled.
        network: what the tasks train.
        state: where they start.
        batches: one for each of U inner steps.
        recompute: whether to compute activations again for the gradient instead of keeping them.
    """
    for batch in batches:
        if recompute:
            state = checkpoint(
                learner, network, state, batch, use_reentrant=False, preserve_rng_state=False
            )
        else:
            state = learner(network, state, batch)
    return state


def advance(
    learner: Learner, state: State | None, truncation: Truncation, recompute: bool = False
) -> State:
    """The state after all steps of a truncation; None starts new tasks, the same at every call."""
    if state is None:
        generator = seeded(truncation.start_seed, device_of(learner))
        state = learner.start(truncation.network, truncation.tasks, generator)
    return unroll(learner, truncation.network, state, truncation.batches, recompute)


def flatten(parts: Iterable[Tensor]) -> Tensor:
    """Tensors of any shapes as one vector, in order."""
    return torch.cat([part.reshape(-1) for part in parts])


def detached_copy(tree: Tree) -> Tree:
    """The same tree in memory of its own, without history: θ may change in place afterwards."""
    return map_tensors(lambda tensor: tensor.detach().clone(), tree)
