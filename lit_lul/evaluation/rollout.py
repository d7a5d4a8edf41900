"""Rollouts: training networks with a learner, without gradients of θ."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lit_lul.learners.learner import Batch, Learner, State
from lit_lul.networks.network import Network


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
