"""The held-out curve: few-shot accuracy of new networks against inner steps.

Shapes: T draws, K labelled examples in the support, K' in the query, N_0 inputs, E embedding units.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut, Protocol
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.probes import probe, ridge_of
from lit_lul.learners.learner import Learner
from lit_lul.learners.rollout import check_unlabelled, rollout
from lit_lul.networks.network import Network, Params, RowNetwork
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective


@dataclass(frozen=True)
class Curve:
    """Accuracy over draws at every probed step."""

    steps: tuple[int, ...]
    """Inner steps."""
    mean: tuple[float, ...]
    """Mean accuracy over the draws, 0 to 1."""
    standard_error: tuple[float, ...]
    """Standard error of the mean."""

    @classmethod
    def of(cls, steps: tuple[int, ...], accuracy: Tensor) -> "Curve":
        """The curve of accuracies (steps, draws)."""
        error = accuracy.std(1) / accuracy.shape[1] ** 0.5
        return cls(steps, tuple(accuracy.mean(1).tolist()), tuple(error.tolist()))


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Results of the rollouts of some draws, on the CPU."""

    accuracy: Tensor
    """(probes, steps, draws), float64."""
    first_layer: Tensor | None
    """Receptive fields of the first draw's first units at the end, inputs unpermuted, (N_0, units);
    None unless the network embeds rows."""
    embedding: Tensor
    """Embedding of the first draw's query at the end, (K', E)."""
    labels: Tensor
    """Classes of the first draw's query, (K',)."""


def roll_out_draws(
    learner: Learner,
    objective: Objective,
    data: HeldOutData,
    held_out: HeldOut,
    numbers: Sequence[int],
) -> Rollouts:
    """Train a network on each of some draws, all at once on the device of θ, and probe them.

    Args:
        learner: the learner that trains.
        objective: determines the ridge, see `ridge_of`.
        data: unlabelled rows to train on and labelled rows to probe with.
        held_out: the network, the protocol and the sizes.
        numbers: numbers of the draws.

    Raises:
        InvalidInput: when a class has too few examples, or the learner cannot train the network or
            needs labels.
    """
    check_unlabelled(learner)
    draws = Draws(data, held_out, numbers, next(learner.parameters()))
    network = held_out.network_of(learner, data.x.shape[1])
    ridge = ridge_of(objective)
    accuracy = []
    start = draws.start(learner, network)
    with torch.no_grad():
        for _, state in rollout(learner, network, start, draws.minibatch, held_out.probe_steps):
            params = learner.parameters_of(state)
            support_u, query_u = embed_labelled(held_out.protocol, ridge, network, params, draws)
            accuracy.append(probe(held_out.probes, ridge, draws, support_u, query_u))
    original_order = draws.permutation[0].argsort()
    return Rollouts(
        torch.stack(accuracy, dim=1),
        _fields(network, params, original_order),
        query_u[0].cpu(),
        draws.query_labels[0],
    )


def embed_labelled(
    protocol: Protocol, ridge: FewShotRidge, network: Network, params: Params, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Embeddings of support (T, K, E) and query (T, K', E) by a protocol.

    Inductive: every row is embedded independently, with the batch statistics of unlabelled rows.
    Transductive: labelled rows share their own batch statistics, as in meta-training (App. 19-20).
    """
    rows = draws.statistics_rows() if protocol == "inductive" else None
    statistics = None if rows is None else network.statistics(params, rows)
    support_u, query_u = ridge.embed(network, params, draws.labelled, statistics)
    return support_u[0], query_u[0]


def _fields(network: Network, params: Params, order: Tensor) -> Tensor | None:
    """Receptive fields of the first of T networks, inputs in an order."""
    if not isinstance(network, RowNetwork):
        return None
    return network.receptive_fields(params)[0, order].cpu()
