"""Baselines by name, measured on the draws of held-out data."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lit_lul.evaluation.curve import embed_labelled
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.features import FEATURES, SIZES
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.probes import probe, ridge_of
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective
from studies.baselines.with_labels import WITH_LABELS, classify_with_unlabelled
from studies.networks.contrastive import CONTRASTIVE
from studies.networks.denoising import DENOISING
from studies.networks.encoder import STEPS, Method, train_encoder
from studies.networks.vicreg import VICREG

RANDOM_NETWORK = "random network (all layers)"
RANDOM_EMBEDDING = "random network (embedding)"
RANDOM = (RANDOM_EMBEDDING, RANDOM_NETWORK)
SELF_SUPERVISED: dict[str, Method] = {
    "denoising": DENOISING,
    "contrastive": CONTRASTIVE,
    "VICReg": VICREG,
}
"""Methods that train the network of rules by gradients."""
BASELINES = ("raw inputs", "PCA", "k-means", RANDOM_NETWORK)
"""Baselines of held-out results; nothing is whitened."""
MORE_BASELINES = (
    "raw inputs",
    "PCA",
    "whitened PCA",
    "k-means",
    "whitened k-means",
    "PCA and k-means",
    RANDOM_EMBEDDING,
    RANDOM_NETWORK,
)
"""Baselines of the suite."""
ALL_BASELINES = (*FEATURES, *SELF_SUPERVISED, *RANDOM, *WITH_LABELS)
"""All that `measure_baselines` knows."""


def size_of(name: str, embedding_units: int) -> int | None:
    """The number of features that a baseline is given, or of its steps, where it is a choice."""
    units = dict.fromkeys(RANDOM, embedding_units)
    return (SIZES | units | dict.fromkeys(SELF_SUPERVISED, STEPS)).get(name)


def measure_baselines(
    objective: Objective,
    data: HeldOutData,
    held_out: HeldOut,
    embedding_units: int,
    names: Sequence[str] = BASELINES,
) -> dict[str, Tensor]:
    """Few-shot accuracy of every baseline, on the same draws as learners.

    Features are fitted to all unlabelled rows and are not standardised. Inputs are not permuted;
    the fitted baselines do not depend on their order. Baselines with labels classify by themselves,
    and have the same accuracy for all probes.

    Args:
        objective: determines the ridge, see `lit_lul.evaluation.probes.ridge_of`.
        data: unlabelled rows to fit to and labelled rows to probe with.
        held_out: the draws.
        embedding_units: E of the random network.
        names: some of `ALL_BASELINES`.

    Returns:
        (probes, draws) float64 by name.

    Raises:
        InvalidInput: when the data have too few labelled examples.
    """
    draws = Draws(data, held_out, range(held_out.draws), torch.empty(0))
    ridge = ridge_of(objective)
    accuracy = {}
    for name in names:
        if name in WITH_LABELS:
            of_draws = classify_with_unlabelled(name, draws)
            accuracy[name] = of_draws.expand(len(held_out.probes), -1)
            continue
        if name in RANDOM:
            features = random_features(draws, held_out, embedding_units)
            if name == RANDOM_EMBEDDING:
                features = features[0][..., -embedding_units:], features[1][..., -embedding_units:]
        elif name in SELF_SUPERVISED:
            features = _self_supervised(name, ridge, data, held_out, embedding_units)
        else:
            features = _fitted(name, data, held_out, draws)
        accuracy[name] = probe(held_out.probes, ridge, draws, *features)
    return accuracy


def _fitted(name: str, data: HeldOutData, held_out: HeldOut, draws: Draws) -> tuple[Tensor, Tensor]:
    """Support (T, K, E) and query (T, K', E) as features fitted to unlabelled rows."""
    order = draws.permutation.argsort(-1).unsqueeze(1)
    sides = (draws.labelled.support_x[0], draws.labelled.query_x[0])
    support, query = (x.gather(-1, order.expand(x.shape)).numpy() for x in sides)
    unlabelled = (data.unlabelled.float() * data.scale).numpy()
    features = FEATURES[name](unlabelled, held_out.seed)
    support_u, query_u = (
        torch.from_numpy(np.stack([features(rows) for rows in x]).astype(np.float32))
        for x in (support, query)
    )
    return support_u, query_u


def _self_supervised(
    name: str, ridge: FewShotRidge, data: HeldOutData, held_out: HeldOut, embedding_units: int
) -> tuple[Tensor, Tensor]:
    """Embeddings of a trained network, by the protocol."""
    draws = Draws(
        data, held_out, range(held_out.draws), torch.empty(0)
    )  # minibatches from the first
    network, params = train_encoder(SELF_SUPERVISED[name], draws, held_out, embedding_units, STEPS)
    with torch.no_grad():
        return embed_labelled(held_out.protocol, ridge, network, params, draws)


def random_features(draws: Draws, held_out: HeldOut, embedding_units: int) -> tuple[Tensor, Tensor]:
    """Activations of all layers above the inputs, of a new network for every draw.

    Batch statistics are those of unlabelled rows, for both protocols.

    Returns:
        Support (T, K, units of all layers) and query (T, K', units of all layers).
    """
    inputs = draws.labelled.support_x.shape[-1]
    network = held_out.networks.at(0.5, inputs, embedding_units)
    params = draws.random_networks(network)
    statistics = network.statistics(params, draws.statistics_rows())
    support_u, query_u = (
        torch.cat(network.activations(params, x, statistics).x[1:], dim=-1)[0]
        for x in (draws.labelled.support_x, draws.labelled.query_x)
    )
    return support_u, query_u
