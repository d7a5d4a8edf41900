"""A Hebbian learner: a weight changes by the correlation of its input with a signal of its unit.

Shapes: T tasks, B examples, layer l - 1 of N_v units below (v), layer l of N_u units above (u).
"""

import math
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor, nn

from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch, Learner, register
from lit_lul.learners.local.hebbian_signals import EPS, SHARPNESS, SIGNALS, Unit, standardised
from lit_lul.networks.mlp import MLP, MLPParams
from lit_lul.networks.network import Network
from lit_lul.precision import full_precision

ROLES = ("first", "hidden", "last")
"""Roles of layers; layers of one role share coefficients. A single layer has the role `last`."""


class HebbianState(TypedDict):
    """The state of `HebbianRule` for T tasks."""

    params: MLPParams
    """φ: W^l and b^l."""
    age: Tensor
    """Inner steps so far, (T,)."""


@dataclass(frozen=True)
class HebbianSettings:
    """Settings of `HebbianRule`.

    Raises:
        InvalidInput: for a width below one or an inner rate that is not positive.
    """

    embedding_units: int = 32
    """E, units of the network's top layer."""
    inner_rate: float = 0.1
    """η, upper bound on the root mean square change of a unit's weights in the first step."""

    def __post_init__(self) -> None:
        if self.embedding_units < 1:
            raise InvalidInput(
                f"Hebbian embedding_units {self.embedding_units}: expected one or more"
            )
        if not self.inner_rate > 0:
            raise InvalidInput(f"Hebbian inner_rate {self.inner_rate}: expected a positive number")


@register
class HebbianRule(Learner):
    """Trains MLPs without labels by Δw = ⟨v s⟩ - Ŵ C - decay; θ weighs what these are made of.

    s is a weighted sum of the `SIGNALS` of the unit above, v the activity below, and C the
    correlations between the units above, whose receptive fields it pushes apart (anti-Hebbian
    inhibition; after Földiák 1990). Steps shrink with age. θ has coefficients for each of `ROLES`.

    Args:
        settings: the width of the embedding and the size of a step.
    """

    settings_class = HebbianSettings
    settings: HebbianSettings

    def __init__(self, settings: HebbianSettings = HebbianSettings()) -> None:
        super().__init__(settings)

        def of_roles(first: list[float], others: list[float]) -> nn.Parameter:
            return nn.Parameter(torch.tensor([first, others, others]))

        def weigh(**signals: float) -> list[float]:
            return [signals.get(name, 0.0) for name in SIGNALS]

        self.inputs = of_roles([0.8, 0.8], [0.8, 0.8])
        """Of inputs with their relative scales, and of standardised ones."""
        self.signals = of_roles(
            weigh(activity=0.1, competition=0.6), weigh(activity=0.4, competition=0.4, energy=0.3)
        )
        self.inhibition = of_roles([0.3, 0.1], [0.2, 0.2])
        """Of all correlations, and of strong ones."""
        self.decay = of_roles([0.0, 0.0], [0.0, 0.0])
        """Of all weights, and of large ones."""
        self.biases = of_roles([0.5], [1.5])
        """What biases approach: units of the first layer are nonlinear, others nearly linear."""
        self.slowing = of_roles([-4.0], [-4.0])
        """Logarithm of the rate at which steps shrink, per inner step."""

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
        dtype = self.signals.dtype
        age = torch.zeros(tasks, device=generator.device, dtype=dtype)
        return {"params": network.init(tasks, generator, dtype), "age": age}

    def step(self, network: Network, state: HebbianState, batch: Batch) -> HebbianState:
        """The state after one update on unlabelled inputs."""
        params, age = state["params"], state["age"]
        x, z = network.activations(params, batch.x)
        layers = list(zip(params["weights"], params["biases"], strict=True))
        weights, biases = [], []
        with full_precision(batch.x):
            for i, (w, b) in enumerate(layers):
                sent = (
                    torch.zeros_like(x[-1])
                    if i + 1 == len(layers)
                    else standardised(x[i + 2]) @ layers[i + 1][0].mT
                )
                updated = []
                for role, part in self.populations(i, len(layers), w.shape[-1]):
                    unit = Unit(
                        x[i + 1][..., part],
                        z[i + 1][..., part],
                        sent[..., part],
                        self.sharpness_of(role),
                    )
                    rate = self.settings.inner_rate / (1 + age * self.slowing[role].exp())
                    change = self.weight_update(role, x[i], unit, w[..., part])
                    drift = self.biases[role] - b[..., part]
                    updated.append((rate[:, None, None] * change, rate[:, None] * drift))
                of_weights, of_biases = zip(*updated, strict=True)
                weights.append(w + torch.cat(of_weights, -1))
                biases.append(b + torch.cat(of_biases, -1))
        return {
            "params": {"weights": tuple(weights), "biases": tuple(biases)},
            "age": age + 1,
        }

    def populations(self, layer: int, layers: int, units: int) -> list[tuple[int, slice]]:
        """Roles of the units of a layer; units of one role compete with each other alone."""
        last = layer + 1 == layers
        role = ROLES.index("last" if last else "first" if layer == 0 else "hidden")
        return [(role, slice(0, units))]

    def sharpness_of(self, role: int) -> Tensor | float:
        """Of the competition in layers of a role."""
        return SHARPNESS

    def weight_update(self, role: int, v: Tensor, unit: Unit, w: Tensor) -> Tensor:
        """The change of the weights of one layer of a role, bounded, (T, N_v, N_u)."""
        of_inputs, of_inhibition, of_decay = (
            p[role].unbind() for p in (self.inputs, self.inhibition, self.decay)
        )
        centred = v - v.mean(-2, keepdim=True)
        square = centred.square().mean(-2, keepdim=True)
        relative = centred * torch.rsqrt(square.mean(-1, keepdim=True) + EPS)
        pre = of_inputs[0] * relative + of_inputs[1] * centred * torch.rsqrt(square + EPS)
        signal = torch.zeros_like(unit.x)
        for a, function in zip(self.signals[role].unbind(), SIGNALS.values(), strict=True):
            signal = signal + a * standardised(function(unit))
        u = standardised(unit.x)
        c = u.mT @ u / u.shape[-2]
        c = c - torch.diag_embed(torch.diagonal(c, dim1=-2, dim2=-1))
        c = c * (of_inhibition[0] / math.sqrt(u.shape[-1]) + of_inhibition[1] * c.abs())
        scaled = w * torch.rsqrt(w.square().mean(-2, keepdim=True) + EPS)
        update = pre.mT @ signal / v.shape[-2] - scaled @ c
        return bounded(update - w * (of_decay[0] + of_decay[1] * w.abs()), -2)


def bounded(update: Tensor, dim: int) -> Tensor:
    """The update scaled to a mean square below 1 along `dim`; small updates barely change."""
    return update * torch.rsqrt(1 + update.square().mean(dim, keepdim=True))
