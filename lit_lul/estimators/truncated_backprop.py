"""Backpropagation through one truncation: U inner steps, then the objective."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lit_lul.constraints import PositiveInt
from lit_lul.errors import InvalidInput
from lit_lul.estimators.estimator import Carry, Estimator, Outcome, Truncation, seeded
from lit_lul.learners.learner import Batch, Learner, State
from lit_lul.networks.network import Network
from lit_lul.objectives.objective import Objective
from lit_lul.trees import Tree, map_tensors


@dataclass(frozen=True)
class TruncatedBackprop(Estimator):
    """Backpropagation through a truncation; the dependence on θ of earlier steps is ignored.

    This is the gradient of eq. 1 as section 4.1 and algorithm 1 take it. The carry is the learner's
    state. New tasks are differentiated through `learner.start` as well. A loss of NaN may have a
    finite gradient: check both.
    """

    recompute: bool = True
    """Whether to store only the state of every step and recompute activations in the backward pass:
    about a third more work, and memory that hardly grows with U."""
    score_every: PositiveInt | None = None
    """Inner steps from one scoring to the next; the loss is the mean over them. The last step is
    always scored; None for that one alone."""

    def __call__(
        self, learner: Learner, objective: Objective, carry: Carry | None, truncation: Truncation
    ) -> Outcome:
        """Run a truncation and compute its gradient; `.grad` of θ is not touched."""
        network, steps = truncation.network, len(truncation.batches)
        state = _started(learner, map_tensors(Tensor.detach, carry), truncation)
        scores = []
        every = self.score_every or max(steps, 1)
        batches = iter(truncation.batches)
        for _ in range(0, max(steps, 1), every):
            state = unroll(learner, network, state, islice(batches, every), self.recompute)
            scores.append(objective(network, learner.parameters_of(state), truncation.labelled))
        score, loss = scores[-1], torch.stack([score.loss for score in scores]).mean()
        if not loss.requires_grad:
            raise InvalidInput(
                f"{type(learner).__name__}: expected a loss that depends on θ; where θ is only the "
                "initial φ, data.problem_length must not exceed data.unroll_length"
            )
        parts = torch.autograd.grad(loss, list(learner.parameters()), materialize_grads=True)
        return Outcome(flatten(parts), detached_copy(state), map_tensors(Tensor.detach, score))


def unroll(
    learner: Learner,
    network: Network,
    state: State,
    batches: Iterable[Batch],
    recompute: bool = False,
) -> State:
    """The state of T tasks after an inner step on every batch.

    Gradients flow into the learner's θ where they are enabled; `recompute` is that of
    `TruncatedBackprop`.
    """
    for batch in batches:
        if recompute:
            state = checkpoint(
                learner, network, state, batch, use_reentrant=False, preserve_rng_state=False
            )
        else:
            state = learner(network, state, batch)
    return state


def advance(learner: Learner, state: State | None, truncation: Truncation) -> State:
    """The state after all steps of a truncation; `state` None starts new tasks from its seed."""
    state = _started(learner, state, truncation)
    return unroll(learner, truncation.network, state, truncation.batches)


def _started(learner: Learner, state: State | None, truncation: Truncation) -> State:
    if state is not None:
        return state
    generator = seeded(truncation.start_seed, next(learner.parameters()).device)
    return learner.start(truncation.network, truncation.tasks, generator)


def flatten(parts: Iterable[Tensor]) -> Tensor:
    """Tensors of any shapes concatenated into one vector."""
    return torch.cat([part.reshape(-1) for part in parts])


def detached_copy(tree: Tree) -> Tree:
    """A detached copy of a tree, which later in-place changes of θ do not affect."""
    return map_tensors(lambda tensor: tensor.detach().clone(), tree)
