"""A Hebbian learner: classic local plasticity terms in a sum with meta-learned coefficients.

Shapes: T tasks, B examples, layer l - 1 of N_v units below (v), layer l of N_u units above (u).
"""

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor, nn

from lit_lul.errors import InvalidInput
from lit_lul.learners.hebbian_terms import BIAS_TERMS, TERMS, Synapses
from lit_lul.learners.learner import Batch, Learner, register
from lit_lul.networks.mlp import MLP, MLPParams
from lit_lul.networks.network import Network
from lit_lul.precision import full_precision

ROLES = ("first", "hidden", "last")
"""Roles of layers; layers of one role share coefficients. A single layer has the role `last`."""

INITIAL = {"correlation": 0.1, "decorrelation": 0.1}
"""Coefficients that do not start at 0, by term, in all roles: Hebbian learning and anti-Hebbian
inhibition, which together find decorrelated features (Földiák 1990)."""


class HebbianState(TypedDict):
    """The state of `HebbianRule` for T tasks: only φ."""

    params: MLPParams
    """φ: W^l and b^l."""


@dataclass(frozen=True)
class HebbianSettings:
    """Settings of `HebbianRule`.

    Raises:
        InvalidInput: for a width below one or an inner rate that is not positive.
    """

    embedding_units: int = 32
    """E, units of the network's top layer."""
    inner_rate: float = 0.03
    """η, upper bound on the root mean square change of a unit's weights in one step."""

    def __post_init__(self) -> None:
        if self.embedding_units < 1:
            raise InvalidInput(
                f"Hebbian embedding_units {self.embedding_units}: expected one or more"
            )
        if not self.inner_rate > 0:
            raise InvalidInput(f"Hebbian inner_rate {self.inner_rate}: expected a positive number")


@register
class HebbianRule(Learner):
    """Trains MLPs without labels by Δw = Σ_k a_k f_k(v, u, w); θ holds the a_k of every role.

    Every term, and the sum, is divided by √(1 + its mean square over the weights into a unit),
    which gives terms similar sizes and bounds the step.

    Args:
        settings: the width of the embedding and the size of a step.
    """

    settings_class = HebbianSettings
    settings: HebbianSettings

    def __init__(self, settings: HebbianSettings = HebbianSettings()) -> None:
        super().__init__(settings)
        initial = torch.tensor([INITIAL.get(name, 0.0) for name in TERMS])
        self.weights = nn.Parameter(initial.repeat(len(ROLES), 1))
        self.biases = nn.Parameter(torch.zeros(len(ROLES), len(BIAS_TERMS)))

    @property
    def embedding_units(self) -> int:
        """E, from the settings."""
        return self.settings.embedding_units

    def check(self, network: Network) -> None:
        """Check that the network is an MLP with E units in its top layer.

        Raises:
            InvalidInput: if not, naming what the network has and what the rule expects.
        """
        if not isinstance(network, MLP):
            raise InvalidInput(
                f"network {type(network).__name__}: {type(self).__name__} expects an MLP"
            )
        super().check(network)

    def start(self, network: Network, tasks: int, generator: torch.Generator) -> HebbianState:
        """A state with newly drawn φ, in the dtype of θ."""
        return {"params": network.init(tasks, generator, self.weights.dtype)}

    def step(self, network: Network, state: HebbianState, batch: Batch) -> HebbianState:
        """The state after one update on unlabelled inputs."""
        params, rate = state["params"], self.settings.inner_rate
        activities = network.activations(params, batch.x).x
        weights, biases = [], []
        with full_precision(batch.x):
            for i, (w, b) in enumerate(zip(params["weights"], params["biases"], strict=True)):
                v, u = activities[i], activities[i + 1]
                role = role_of(i, len(params["weights"]))
                weights.append(w + rate * self.weight_update(role, Synapses(v, u, w)))
                biases.append(b + rate * self.bias_update(role, b, u))
        return {"params": {"weights": tuple(weights), "biases": tuple(biases)}}

    def weight_update(self, role: int, synapses: Synapses) -> Tensor:
        """The sum of all terms in one layer of a role, bounded, (T, N_v, N_u)."""
        update = torch.zeros_like(synapses.w)
        for a, term in zip(self.weights[role].unbind(), TERMS.values(), strict=True):
            update = update + a * bounded(term(synapses), -2)
        return bounded(update, -2)

    def bias_update(self, role: int, b: Tensor, u: Tensor) -> Tensor:
        """The sum of all terms of the biases of one layer of a role, bounded, (T, N_u)."""
        update = torch.zeros_like(b)
        for a, term in zip(self.biases[role].unbind(), BIAS_TERMS.values(), strict=True):
            update = update + a * bounded(term(b, u), -1)
        return bounded(update, -1)


def role_of(index: int, layers: int) -> int:
    """The index into `ROLES` of layer `index` + 1 of `layers`."""
    if index == layers - 1:
        return ROLES.index("last")
    return ROLES.index("first" if index == 0 else "hidden")


def bounded(update: Tensor, dim: int) -> Tensor:
    """The update scaled to a mean square below 1 along `dim`; small updates barely change."""
    return update * torch.rsqrt(1 + update.square().mean(dim, keepdim=True))
