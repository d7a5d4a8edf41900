"""Baselines by name, measured on the draws of held-out data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.features import FEATURES, SIZES
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.probes import probe, ridge_of
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective


@dataclass(frozen=True)
class Case:
    """What a baseline is measured on.

    Shapes: T draws, K labelled examples in the support, K' in the query, N_0 inputs, E features.

    Attributes:
        data: unlabelled rows to fit to and labelled rows to probe with.
        held_out: the network, the protocol and the sizes.
        ridge: the ridge probe.
        embedding_units: E of the network that rules train.
    """

    data: HeldOutData
    held_out: HeldOut
    ridge: FewShotRidge
    embedding_units: int

    def draws(self) -> Draws:
        """The T draws, on the CPU.

        Raises:
            InvalidInput: when a class has too few examples.
        """
        return Draws(self.data, self.held_out, range(self.held_out.draws), torch.empty(0))

    def probe(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """Accuracy (probes, T) of features of the support (T, K, E) and the query (T, K', E)."""
        return probe(self.held_out.probes, self.ridge, self.draws(), *features)


@dataclass(frozen=True)
class Baseline:
    """A baseline.

    Attributes:
        accuracy: from a case to its accuracy (probes, T), float64.
        size: the number of features that it is given, or of its steps, where it is a choice.
        embeds: whether its size is E.
    """

    accuracy: Callable[[Case], Tensor]
    size: int | None = None
    embeds: bool = False

    def size_for(self, embedding_units: int) -> int | None:
        """The chosen size beside rules of E embedding units; None where nothing was chosen."""
        return embedding_units if self.embeds else self.size


def measure_baselines(
    objective: Objective,
    data: HeldOutData,
    held_out: HeldOut,
    embedding_units: int,
    baselines: Mapping[str, Baseline],
) -> dict[str, Tensor]:
    """Few-shot accuracy of every baseline, on the same draws as learners.

    Features are fitted to all unlabelled rows and are not standardised. Inputs are not permuted;
    the fitted baselines do not depend on their order.

    Args:
        objective: determines the ridge, see `lit_lul.evaluation.probes.ridge_of`.
        data: unlabelled rows to fit to and labelled rows to probe with.
        held_out: the draws.
        embedding_units: E of the random network.
        baselines: baselines by name, such as some of `BASELINES`.

    Returns:
        (probes, T) float64 by name.

    Raises:
        InvalidInput: when the data have too few labelled examples.
    """
    case = Case(data, held_out, ridge_of(objective), embedding_units)
    return {name: baseline.accuracy(case) for name, baseline in baselines.items()}


def fitted_features(name: str, case: Case) -> tuple[Tensor, Tensor]:
    """Support (T, K, E) and query (T, K', E) as features `FEATURES` fitted to unlabelled rows."""
    draws, data = case.draws(), case.data
    order = draws.permutation.argsort(-1).unsqueeze(1)
    sides = (draws.labelled.support_x[0], draws.labelled.query_x[0])
    support, query = (x.gather(-1, order.expand(x.shape)).numpy() for x in sides)
    unlabelled = (data.unlabelled.float() * data.scale).numpy()
    features = FEATURES[name](unlabelled, case.held_out.seed)
    support_u, query_u = (
        torch.from_numpy(np.stack([features(rows) for rows in x]).astype(np.float32))
        for x in (support, query)
    )
    return support_u, query_u


def random_features(case: Case, top: bool = False) -> tuple[Tensor, Tensor]:
    """Activations of a random network for every draw: all layers above the inputs, or the top.

    Batch statistics are those of unlabelled rows, for both protocols.

    Returns:
        Support (T, K, units) and query (T, K', units).
    """
    draws = case.draws()
    inputs = draws.labelled.support_x.shape[-1]
    network = case.held_out.networks.at(0.5, inputs, case.embedding_units)
    params = draws.random_networks(network)
    statistics = network.statistics(params, draws.statistics_rows())
    support_u, query_u = (
        torch.cat(network.activations(params, x, statistics).x[-1 if top else 1 :], dim=-1)[0]
        for x in (draws.labelled.support_x, draws.labelled.query_x)
    )
    return support_u, query_u


RANDOM_NETWORK = "random network (all layers)"
RANDOM_EMBEDDING = "random network (embedding)"


def _fitted(name: str) -> Baseline:
    return Baseline(lambda case: case.probe(fitted_features(name, case)), SIZES.get(name))


BASELINES: dict[str, Baseline] = {
    **{name: _fitted(name) for name in FEATURES},
    RANDOM_EMBEDDING: Baseline(lambda case: case.probe(random_features(case, True)), embeds=True),
    RANDOM_NETWORK: Baseline(lambda case: case.probe(random_features(case)), embeds=True),
}
"""Baselines by name."""


def some_baselines(names: Sequence[str]) -> dict[str, Baseline]:
    """Some of `BASELINES`, in an order."""
    return {name: BASELINES[name] for name in names}
