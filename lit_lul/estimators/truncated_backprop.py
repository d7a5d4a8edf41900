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
    """Backpropagation through a truncation; the dependence on θ of earlier steps is ignored.

    This is the gradient of section 4.1 and algorithm 1. The carry is the learner's state. New tasks
    are differentiated through `learner.start` as well. A loss of NaN may have a finite gradient:
    check both.
    """

    recompute: bool = True
    """Whether to store only the state of every step and recompute activations in the backward pass:
    about a third more work, and memory that hardly grows with U."""

    def __call__(
        self, learner: Learner, objective: Objective, carry: Carry | None, truncation: Truncation
    ) -> Outcome:
        """Run a truncation and compute its gradient; `.grad` of θ is not touched."""
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
        learner: gradients flow into its θ where gradients are enabled.
        network: the network to train.
        state: the state to start from.
        batches: one for each of U inner steps.
        recompute: whether to recompute activations in the backward pass instead of storing them.
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
    """The state after all steps of a truncation; `state` None starts new tasks from its seed."""
    if state is None:
        generator = seeded(truncation.start_seed, device_of(learner))
        state = learner.start(truncation.network, truncation.tasks, generator)
    return unroll(learner, truncation.network, state, truncation.batches, recompute)


def flatten(parts: Iterable[Tensor]) -> Tensor:
    """Tensors of any shapes concatenated into one vector."""
    return torch.cat([part.reshape(-1) for part in parts])


def detached_copy(tree: Tree) -> Tree:
    """A detached copy of a tree, which later in-place changes of θ do not affect."""
    return map_tensors(lambda tensor: tensor.detach().clone(), tree)
