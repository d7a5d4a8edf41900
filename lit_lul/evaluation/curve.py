"""The held-out curve: few-shot accuracy of fresh base models against inner steps."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_lul.base_model import MLP
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.rollout import rollout
from lit_lul.meta_objective import Labelled, MetaObjective
from lit_lul.rules import UnsupervisedUpdate


@dataclass(frozen=True)
class Curve:
    """Accuracy over draws at every probe."""

    steps: tuple[int, ...]
    """Inner steps of the probes."""
    mean: tuple[float, ...]
    """Mean accuracy over the draws, 0 to 1."""
    standard_error: tuple[float, ...]
    """Standard error of the mean."""


@dataclass(frozen=True)
class Protocol:
    """How a held-out curve is measured; with its seed every rule gets the same draws."""

    hidden_units: tuple[int, ...]
    """Units of the base model's hidden layers."""
    activation: str
    """Its nonlinearity."""
    probe_steps: tuple[int, ...]
    """Inner steps to probe at, in increasing order."""
    batch_size: int
    """B, unlabelled examples per inner step."""
    labels_per_class: int
    """Examples of each class that the probe learns from."""
    draws: int
    """Fresh base models, each with a permutation of the inputs and labels of its own."""
    seed: int
    """Determines all draws."""


def measure_curve(
    rule: UnsupervisedUpdate, objective: MetaObjective, data: HeldOutData, protocol: Protocol
) -> Curve:
    """Roll out all draws at once on the rule's device, and probe them with the objective's ridge.

    Raises:
        InvalidInput: when the data has too few examples for the labels asked for.
    """
    device = next(rule.parameters()).device
    inputs = data.x.shape[1]
    base_model = MLP(
        (inputs, *protocol.hidden_units, rule.settings.embedding_units), protocol.activation
    )
    rng = np.random.default_rng(protocol.seed)
    identity = np.broadcast_to(np.arange(inputs), (protocol.draws, inputs))
    permutation = torch.from_numpy(rng.permuted(identity, axis=1)).to(device)
    labelled = data.sample_labelled(protocol.labels_per_class, protocol.draws, rng)
    labelled = Labelled(*(part.to(device) for part in labelled))
    labelled = labelled._replace(
        support_x=_permute(labelled.support_x, permutation),
        query_x=_permute(labelled.query_x, permutation),
    )
    phi = base_model.init(protocol.draws, torch.Generator().manual_seed(protocol.seed))
    unlabelled = data.unlabelled.to(device)

    def minibatch() -> Tensor:
        rows = rng.integers(len(unlabelled), size=(protocol.draws, protocol.batch_size))
        return _permute(unlabelled[torch.from_numpy(rows).to(device)], permutation)

    with torch.no_grad():
        accuracy = np.stack(
            [
                objective(base_model, phi, labelled).accuracy.cpu().numpy()
                for _, phi in rollout(
                    rule,
                    base_model,
                    phi.map(lambda p: p.to(device)),
                    minibatch,
                    protocol.probe_steps,
                )
            ]
        )
    error = accuracy.std(1, ddof=1) / np.sqrt(protocol.draws)
    return Curve(protocol.probe_steps, tuple(accuracy.mean(1).tolist()), tuple(error.tolist()))


def _permute(x: Tensor, permutation: Tensor) -> Tensor:
    """Reorder inputs (..., T, B, N) by (T, N)."""
    return x.gather(-1, permutation.unsqueeze(-2).expand(x.shape))


def probe_steps(inner_steps: int, probes: int) -> tuple[int, ...]:
    """`probes` + 1 inner steps from 0 to `inner_steps`, evenly spread."""
    return tuple(sorted({round(inner_steps * i / probes) for i in range(probes + 1)}))
