"""Rollouts: training networks with a learner, without gradients of θ."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch, Learner, State
from lit_lul.networks.network import Network


def check_unlabelled(learner: Learner) -> None:
    """Check that a learner needs no labels, so that it can be applied to rows without.

    Raises:
        InvalidInput: when it does.
    """
    if learner.learns_from != "unlabelled":
        raise InvalidInput(
            f"{type(learner).__name__} learns from labels: held-out curves (none: held_out: {{}}), "
            "predict, transformers and reports expect a learner without"
        )


def rollout(
    learner: Learner,
    network: Network,
    state: State,
    minibatch: Callable[[], Tensor],
    probe_steps: Sequence[int],
) -> Iterator[tuple[int, State]]:
    """Take inner steps up to the last probe, and yield the state at every probe.

    Args:
        learner: the learner that trains.
        network: the network of T tasks.
        state: the initial state.
        minibatch: returns the next unlabelled minibatch, (T, B, N_0).
        probe_steps: inner steps to probe at, in increasing order; 0 is the start.

    Yields:
        The inner step and the state after it.
    """
    done = 0
    for probe in probe_steps:
        with torch.no_grad():
            while done < probe:
                state = learner(network, state, Batch(minibatch()))
                done += 1
        yield probe, state
