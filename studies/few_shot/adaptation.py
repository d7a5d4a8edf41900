"""What adapting changes: features without the head, layers, and the learned rates.

Shapes: T episodes, R = 1 draw, n examples, N_l units of layer l.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lit_lul.learners.gradient_descent import MetaSGD
from lit_lul.learners.learner import Learner
from lit_lul.objectives.objective import Labelled
from lit_lul.report.rows import Row
from lit_lul.trees import map_tensors
from studies.few_shot.methods import by_nearest_neighbour, row_of
from studies.few_shot.runs import Run

WITH_HEAD = "with the head"
"""Accuracy of the adapted network."""
BEFORE, ON_TASK, OFF_TASK = "before", "on-task", "off-task"
"""Accuracy of features before adapting, after adapting to the tested episode, and to another."""
LAYER = "layer "
"""Start of the names of a layer's similarity before and after adapting to the episode."""


@torch.no_grad()
def measure(run: Run, key: str, episodes: Iterable[Labelled]) -> Row:
    """Accuracy of stripped features, and similarity of every layer, for every episode."""
    found: dict[str, list[Tensor]] = {}
    for labelled in episodes:
        for name, values in measure_together(run, labelled).items():
            found.setdefault(name, []).append(values)
    return row_of(key, found)


def measure_together(run: Run, labelled: Labelled) -> dict[str, Tensor]:
    """The same for T episodes, each (T,).

    The other episode that networks adapt to is the next of the T; its classes are drawn
    independently, so that a few are shared.
    """
    before = run.start(labelled.support_x.shape[1])
    after = run.adapt(labelled)
    other = map_tensors(lambda tensor: tensor.roll(1, 0), after)
    x = torch.cat([labelled.support_x, labelled.query_x], dim=-2)
    network, k = run.learner.network, labelled.support_x.shape[-2]
    layers = {
        name: network.activations(params, x).x[1:]  # every layer's, (1, T, K + K', N_l)
        for name, params in ((BEFORE, before), (ON_TASK, after), (OFF_TASK, other))
    }
    found = {WITH_HEAD: run.objective(network, after, labelled).accuracy}
    for name, of_params in layers.items():
        features = of_params[-2]  # below the head
        support_u, query_u = features[..., :k, :], features[..., k:, :]
        found[name] = by_nearest_neighbour(support_u, query_u, labelled)
    for number, (one, other) in enumerate(zip(layers[BEFORE], layers[ON_TASK], strict=True), 1):
        found[f"{LAYER}{number}"] = linear_cka(one, other).mean(0)
    return found


def linear_cka(one: Tensor, other: Tensor) -> Tensor:
    """Linear CKA (...) of features (..., n, units) of the same examples (Kornblith et al. 2019)."""
    grams = []
    for features in (one.double(), other.double()):
        centred = features - features.mean(-2, keepdim=True)
        grams.append((centred @ centred.mT).flatten(-2))
    first, second = grams
    norms = first.norm(dim=-1) * second.norm(dim=-1)
    similarity: Tensor = (first * second).sum(-1) / norms.clamp(min=torch.finfo(norms.dtype).tiny)
    return similarity


class LayerRates(NamedTuple):
    """The learned rates of one layer, as they are used."""

    name: str
    """Such as layer 1, weights."""
    mean: float
    negative: float
    """Share below 0."""
    zero: float
    """Share that is 0."""


def rates_of(learner: Learner) -> list[LayerRates]:
    """The rates of every layer's weights and biases; none for a learner without learned rates."""
    if not isinstance(learner, MetaSGD):
        return []
    found = []
    for name, rates in zip(learner.initial, learner.rates, strict=True):
        kind, _, layer = name.rpartition("_")
        shares = [float(part.double().mean()) for part in (rates, rates < 0, rates == 0)]
        found.append(LayerRates(f"layer {int(layer) + 1}, {kind}", *shares))
    return sorted(found, key=lambda layer: layer.name)
