"""A learner of MLPs by local plasticity: populations of units, each with a weighted sum of terms.

Shapes: T tasks, B examples, layer l - 1 of N_v units below (v), layer l of N_u units above (u).
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, TypedDict

import torch
from torch import Tensor, nn

from lit_lul.constraints import Checked, Length, Positive, PositiveInt
from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch, Learner, register
from lit_lul.learners.local.terms import EPS, TERMS, Kind, Synapses, relative, standardised
from lit_lul.networks.mlp import MLP, MLPParams
from lit_lul.networks.network import Network, Readout
from lit_lul.precision import full_precision

ROLES = ("first", "hidden", "last")
"""Roles of layers; a single layer has the role `last`."""
FIXED = {"bias": 0.0, "slowing": -4.0, "sharpness": math.log(2)}
"""Coefficients beside the weights of terms, and their values where a population does not name them:
what biases approach; the logarithm of the rate at which steps shrink, per inner step; the logarithm
of the sharpness of the competition."""
COMMON = {"relative": 0.8, "standard": 0.8, "slowing": -4.0}
COMMON |= dict.fromkeys(("bcm", "cube", "feedback", "decay", "strong_decay"), 0.0)
FIRST = COMMON | {"hebb": 0.1, "competition": 0.6, "energy": 0.0, "bias": 0.5}
FIRST |= {"inhibition": 0.3, "strong_inhibition": 0.1}
DEEP = COMMON | {"hebb": 0.4, "competition": 0.4, "energy": 0.3, "bias": 1.5}
DEEP |= {"inhibition": 0.2, "strong_inhibition": 0.2}
"""Initial coefficients of the first layer and of all others, rounded from those that trials ended
with (docs/runs): units of the first layer compete and are nonlinear, others are nearly linear."""


class LocalState(TypedDict):
    """The state of `LocalRule` for T tasks."""

    params: MLPParams
    """φ: W^l and b^l, and the gains of the readout if there are any."""
    age: Tensor
    """Inner steps so far, (T,)."""


def _check_names(where: str, found: Collection[str], expected: Collection[str]) -> None:
    """Check that names exist."""
    unknown = [name for name in found if name not in expected]
    if unknown:
        raise InvalidInput(
            f"{where}: unknown {', '.join(unknown)}, expected some of {', '.join(expected)}"
        )


@dataclass(frozen=True)
class LocalSettings(Checked):
    """Settings of `LocalRule`: its populations and their initial coefficients.

    Raises:
        InvalidInput: for a number out of range, or an unknown term, population or role.
    """

    embedding_units: PositiveInt = 32
    """E, units of the network's top layer."""
    inner_rate: Positive = 0.1
    """η, upper bound on the root mean square change of a unit's weights in the first step."""
    populations: dict[str, dict[str, float]] = field(
        default_factory=lambda: {"first": FIRST, "hidden": DEEP, "last": DEEP}
    )
    """Initial coefficients of each population: weights of `TERMS`, and those of `FIXED`. What is
    named is learned; without an `input` term it is `relative`, with weight 1."""
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    """Populations of the layers of a role, `first`, `hidden` or `last`, and their shares of the
    units. A role that is missing has the population of its name, or the only one."""
    gains: Annotated[list[float], Length(4, 4)] | None = None
    """Initial gains of the readout: of the inputs, and of layers by role. With None the embedding
    is the top layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.populations:
            raise InvalidInput("populations must not be empty")
        for name, coefficients in self.populations.items():
            _check_names(f"population {name}", coefficients, (*TERMS, *FIXED))
        _check_names("layers", self.layers, ROLES)
        for role in ROLES:
            shares = self.populations_of(role)
            _check_names(f"layers {role}", shares, self.populations)
            if min(shares.values()) <= 0 or not math.isclose(sum(shares.values()), 1):
                raise InvalidInput(
                    f"layers {role}: shares must be positive and add up to 1, got "
                    f"{', '.join(map(str, shares.values()))}"
                )

    def populations_of(self, role: str) -> Mapping[str, float]:
        """The populations of layers of a role, with their shares of the units."""
        only = next(iter(self.populations)) if len(self.populations) == 1 else role
        return self.layers.get(role, {only: 1.0})


@register
class LocalRule(Learner):
    """Trains MLPs without labels by Δw = η bounded(⟨v s⟩ - Ŵ C + D), see `terms`.

    Units of a population have the same coefficients, θ, and compete with each other alone; steps
    shrink with age, and biases approach a constant. With `gains` networks are read out from the
    inputs and from every layer, each by a gain of θ and divided by √N_l, so that meta-training
    weighs the layers against each other and against the penalty of the regression.

    Args:
        settings: populations, the width of the embedding and the size of a step.
    """

    settings_class = LocalSettings
    settings: LocalSettings

    def __init__(self, settings: LocalSettings = LocalSettings()) -> None:
        super().__init__(settings)
        self.coefficients = nn.ParameterDict(
            {
                population: torch.tensor([float(c[name]) for name in sorted(c)])
                for population, c in settings.populations.items()
            }
        )
        """Coefficients of each population, in alphabetical order of their names."""
        self.gains = None if settings.gains is None else nn.Parameter(torch.tensor(settings.gains))
        """Gains of the inputs, and of layers of each role."""

    @property
    def embedding_units(self) -> int:
        """E, from the settings."""
        return self.settings.embedding_units

    @property
    def readout(self) -> Readout:
        """The readout of the networks that it trains."""
        return Readout.TOP if self.gains is None else Readout.ALL

    def check(self, network: Network) -> None:
        """Check that the network is an MLP with E units in its top layer, read out as θ says.

        Raises:
            InvalidInput: if not, naming what the network has and what the rule expects.
        """
        super().check(network)
        if not isinstance(network, MLP) or network.readout is not self.readout:
            raise InvalidInput(
                f"network {network}: {type(self).__name__} expects an MLP with readout "
                f"{self.readout.name}"
            )

    def network_for(self, network: Network) -> Network:
        """The MLP, with the readout that θ has gains for."""
        if isinstance(network, MLP):
            network = replace(network, readout=self.readout)
        return super().network_for(network)

    def start(self, network: Network, tasks: int, generator: torch.Generator) -> LocalState:
        """A state with newly drawn φ, in the dtype of θ."""
        dtype = next(self.parameters()).dtype
        params: MLPParams = network.init(tasks, generator, dtype)
        age = torch.zeros(tasks, device=generator.device, dtype=dtype)
        return {"params": self._read_out(params, tasks), "age": age}

    def step(self, network: Network, state: LocalState, batch: Batch) -> LocalState:
        """The state after one update on unlabelled inputs."""
        params, age = state["params"], state["age"]
        x, z = network.activations(params, batch.x)
        layers = list(zip(params["weights"], params["biases"], strict=True))
        weights, biases = [], []
        with full_precision(batch.x):
            for i, (w, b) in enumerate(layers):
                last = i + 1 == len(layers)
                sent = None if last else standardised(x[i + 2]) @ layers[i + 1][0].mT
                parts = []
                for population, units in self.parts(i, len(layers), w.shape[-1]):
                    c = self._coefficients(population)
                    synapses = Synapses(
                        x[i],
                        x[i + 1][..., units],
                        z[i + 1][..., units],
                        None if sent is None else sent[..., units],
                        w[..., units],
                        c["sharpness"].exp(),
                    )
                    rate = self.settings.inner_rate / (1 + age * c["slowing"].exp())
                    change = rate[:, None, None] * _change(c, synapses)
                    parts.append((change, rate[:, None] * (c["bias"] - b[..., units])))
                changes, drifts = zip(*parts, strict=True)
                weights.append(w + torch.cat(changes, -1))
                biases.append(b + torch.cat(drifts, -1))
        after: MLPParams = {**params, "weights": tuple(weights), "biases": tuple(biases)}
        return {"params": self._read_out(after, len(age)), "age": age + 1}

    def parts(self, layer: int, layers: int, units: int) -> list[tuple[str, slice]]:
        """The populations of a layer and their units, in the order of the settings."""
        role = "last" if layer + 1 == layers else "first" if layer == 0 else "hidden"
        parts, start, share = [], 0, 0.0
        for population, part in self.settings.populations_of(role).items():
            share += part
            parts.append((population, slice(start, round(share * units))))
            start = round(share * units)
        return parts

    def _coefficients(self, population: str) -> dict[str, Tensor]:
        """Coefficients of a population by name, those of `FIXED` included, () each."""
        theta = self.coefficients[population]
        fixed = {name: theta.new_full((), value) for name, value in FIXED.items()}
        named = sorted(self.settings.populations[population])
        return fixed | dict(zip(named, theta.unbind(), strict=True))

    def _read_out(self, params: MLPParams, tasks: int) -> MLPParams:
        """φ with the gains of θ; hidden layers share theirs."""
        if self.gains is None:
            return params
        widths = [params["weights"][0].shape[1], *(w.shape[-1] for w in params["weights"])]
        hidden = len(widths) - 3
        inputs, first, between, last = self.gains.unbind()
        gains = [inputs, *[first] * (hidden >= 0), *[between / math.sqrt(max(hidden, 1))] * hidden]
        readout = torch.stack([*gains, last]) * self.gains.new_tensor(widths).rsqrt()
        return {**params, "readout": readout.expand(tasks, -1)}


def _change(coefficients: Mapping[str, Tensor], synapses: Synapses) -> Tensor:
    """The change of the weights of a population before the rate, bounded, (T, N_v, N_u)."""
    sums: dict[Kind, Tensor] = {}
    for name, coefficient in coefficients.items():
        if name in TERMS:
            kind, function = TERMS[name]
            value = function(synapses)
            value = coefficient * (standardised(value) if kind == "signal" else value)
            sums[kind] = sums[kind] + value if kind in sums else value
    w = synapses.weight
    update = sums["weight"] if "weight" in sums else torch.zeros_like(w)
    if "signal" in sums:
        v = sums["input"] if "input" in sums else relative(synapses)
        update = update + v.mT @ sums["signal"] / v.shape[-2]
    if "lateral" in sums:
        scaled = w * torch.rsqrt(w.square().mean(-2, keepdim=True) + EPS)
        update = update - scaled @ sums["lateral"]
    return update * torch.rsqrt(1 + update.square().mean(-2, keepdim=True))
