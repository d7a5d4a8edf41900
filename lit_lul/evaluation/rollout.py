"""Applying a rule to fresh base models, many at once, without gradients."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lit_lul.learners.update_rule import UnsupervisedUpdate
from lit_lul.networks.mlp import MLP, Phi


def rollout(
    rule: UnsupervisedUpdate,
    base_model: MLP,
    phi: Phi,
    minibatch: Callable[[], Tensor],
    probe_steps: Sequence[int],
) -> Iterator[tuple[int, Phi]]:
    """Apply the rule up to the last probe, and give φ at every probe.

    Args:
        rule: the rule.
        base_model: the network of T tasks.
        phi: where it starts.
        minibatch: gives the next unlabelled minibatch, (T, B, N_0).
        probe_steps: inner steps to probe at, in increasing order; 0 is the start.

    Yields:
        The inner step and φ after so many steps.
    """
    done = 0
    for probe in probe_steps:
        with torch.no_grad():
            while done < probe:
                phi = rule(base_model, phi, minibatch())
                done += 1
        yield probe, phi
