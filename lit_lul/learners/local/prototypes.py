"""A learner of components, and of prototypes that compete for inputs and connect.

Shapes: T tasks, B examples, N_0 inputs, E components, K prototypes.
"""

from dataclasses import dataclass
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_lul.constraints import Checked, PositiveInt
from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch, Learner, register
from lit_lul.learners.local.terms import towards_components
from lit_lul.networks.competitive import (
    EPS,
    EXCITATIONS,
    CompetitiveNetwork,
    CompetitiveParams,
    shares,
    squared_distances,
)
from lit_lul.networks.mlp import MLP
from lit_lul.networks.network import Network
from lit_lul.precision import full_precision

FLOOR = 0.2
"""Added to the standard deviations of inputs, relative to their root mean square, that they are
divided by."""
FREE = 0.05
"""A prototype that has won less than this share of what the mean prototype has is free."""


class PrototypeState(TypedDict):
    """The state of `PrototypeRule` for T tasks."""

    params: CompetitiveParams
    """φ."""
    mean: Tensor
    """The mean of every input so far, (T, N_0)."""
    variance: Tensor
    """The variance of every input so far, (T, N_0)."""
    wins: Tensor
    """How many inputs each prototype has won, early ones counted less, (T, K)."""
    age: Tensor
    """Inner steps so far, (T,)."""


@dataclass(frozen=True)
class PrototypeSettings(Checked):
    """Settings of `PrototypeRule`."""

    embedding_units: PositiveInt = 32
    """E, components."""


@register
class PrototypeRule(Learner):
    """Trains a `CompetitiveNetwork` without labels, by three kinds of local plasticity.

    - Components y of inputs v: Δw = η (⟨v y⟩ - Σ w' ⟨y' y⟩) / ⟨y²⟩, summed over the unit and those
      before it, which makes them the principal components (Sanger 1989).
    - Prototypes: the nearest to an input wins it, and is the mean of what it has won. One that has
      won next to nothing takes the input that all others are farthest from.
    - Lateral connections of prototypes with shares s, s' of an input: Δc = ρ (⟨s s'⟩ - c). What
      fires together wires together (Hebb 1949).

    θ, 18 numbers, has rates, the scales of inputs, the reach of prototypes and the gains of what is
    read out. Nothing depends on labels or on the order of inputs.

    Args:
        settings: the number of components.
    """

    settings_class = PrototypeSettings
    settings: PrototypeSettings

    def __init__(self, settings: PrototypeSettings = PrototypeSettings()) -> None:
        super().__init__(settings)
        self.scaling = nn.Parameter(torch.tensor([0.75, 0.0]))
        """Power of its standard deviation that an input is divided by, for components and for
        distances: 0 leaves it as it is, 1 standardises it."""
        self.rate = nn.Parameter(torch.tensor([0.0, -3.0]))
        """Logarithms of η in the first step, and of how fast it falls, per inner step."""
        self.memory = nn.Parameter(torch.tensor([3.5, 1.1]))
        """Logarithms of how many inner steps prototypes remember, and of the power of the age that
        lateral connections weigh inner steps by."""
        self.reach = nn.Parameter(torch.tensor([-1.5]))
        """Logarithm of how far prototypes respond, see `CompetitiveParams`."""
        self.gains = nn.Parameter(torch.tensor([0.3, 0.3]))
        """Gains of components and of prototypes in the embedding."""
        spread = torch.zeros(EXCITATIONS + 1)
        spread[EXCITATIONS // 2] = 1.0
        self.spread = nn.Parameter(spread)
        """Weights of 0 to S steps of excitation."""

    @property
    def embedding_units(self) -> int:
        """E, from the settings."""
        return self.settings.embedding_units

    def check(self, network: Network) -> None:
        """Check that it is a `CompetitiveNetwork` with E components.

        Raises:
            InvalidInput: if not, naming what the network has and what the rule expects.
        """
        super().check(network)
        if not isinstance(network, CompetitiveNetwork):
            raise InvalidInput(
                f"network {network}: {type(self).__name__} expects a CompetitiveNetwork"
            )

    def network_for(self, network: Network) -> Network:
        """The network, or in place of an MLP one with the same number of units."""
        if isinstance(network, MLP):
            *hidden, components = network.sizes[1:]
            prototypes = max(1, sum(hidden) // 2)  # each has two units: closeness, neighbourhood
            network = CompetitiveNetwork(network.inputs, components, prototypes)
        return super().network_for(network)

    def start(self, network: Network, tasks: int, generator: torch.Generator) -> PrototypeState:
        """A state with newly drawn φ, in the dtype of θ."""
        params: CompetitiveParams = network.init(tasks, generator, self.gains.dtype)
        inputs, prototypes = params["prototypes"].shape[1:]
        zeros = params["prototypes"].new_zeros
        return self._read_out(
            {
                "params": params,
                "mean": zeros(tasks, inputs),
                "variance": zeros(tasks, inputs),
                "wins": zeros(tasks, prototypes),
                "age": zeros(tasks),
            }
        )

    def step(self, network: Network, state: PrototypeState, batch: Batch) -> PrototypeState:
        """The state after one update on unlabelled inputs."""
        old, age, x = state["params"], state["age"], batch.x
        with full_precision(x):
            mean, variance = _moments(state, x)
            scales = self._scales(variance)
            of_components, of_distances = scales.unbind(-2)
            centred = (x - mean.unsqueeze(-2)) * of_components.unsqueeze(-2)
            rate = self.rate[0].exp() / (1 + age * self.rate[1].exp())
            components = old["components"]
            components = components + rate[:, None, None] * towards_components(centred, components)
            length = torch.linalg.vector_norm(components, dim=-2, keepdim=True)
            remembered = state["wins"] * (1 - torch.exp(-self.memory[0]))
            prototypes, wins = occupy(old["prototypes"], remembered, x, of_distances)
            square = distances_of_used(x, prototypes, wins, of_distances)
            prototypes, wins = move_winners(prototypes, wins, x, square)
            share = shares(square)
            together = share.mT @ share / x.shape[-2]
            power = self.memory[1].exp()
            part = (power / (age + power))[:, None, None]
            params: CompetitiveParams = {
                **old,
                "scales": scales,
                "components": components / length.clamp(min=1),
                "prototypes": prototypes,
                "lateral": old["lateral"] + part * (together - old["lateral"]),
            }
        return self._read_out(
            {"params": params, "mean": mean, "variance": variance, "wins": wins, "age": age + 1}
        )

    def _scales(self, variance: Tensor) -> Tensor:
        """Factors of inputs of some variance (T, N_0): (T, 2, N_0)."""
        relative = variance / (variance.mean(-1, keepdim=True) + EPS) + FLOOR**2
        return relative.unsqueeze(-2) ** (-self.scaling.unsqueeze(-1) / 2)

    def _read_out(self, state: PrototypeState) -> PrototypeState:
        """The state with what θ says of the readout in φ."""
        tasks = len(state["age"])
        gains = torch.cat([self.gains, self.gains.new_ones(1)])
        params: CompetitiveParams = {
            **state["params"],
            "reach": self.reach.exp().expand(tasks),
            "spread": self.spread.expand(tasks, -1),
            "readout": gains.expand(tasks, -1),
        }
        return {**state, "params": params}


def _moments(state: PrototypeState, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the inputs so far, x included."""
    part = 1 / (state["age"].unsqueeze(-1) + 1)
    mean = state["mean"] + part * (x.mean(-2) - state["mean"])
    square = (x - mean.unsqueeze(-2)).square().mean(-2)
    return mean, state["variance"] + part * (square - state["variance"])


def distances_of_used(x: Tensor, prototypes: Tensor, wins: Tensor, scales: Tensor) -> Tensor:
    """Squared distances (T, B, K) of inputs; those of prototypes without a win are very large."""
    square = squared_distances(x, prototypes, scales)
    unused = (wins <= 0).unsqueeze(-2)
    return square.masked_fill(unused, torch.finfo(x.dtype).max / 4)


def occupy(prototypes: Tensor, wins: Tensor, x: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Prototypes and their wins, where free ones have taken inputs, those farthest from all first.

    At most B do in one step.
    """
    free = wins <= FREE * wins.mean(-1, keepdim=True)
    nearest = distances_of_used(x, prototypes, wins, scales).amin(-1)
    farthest_first = torch.argsort(nearest, dim=-1, descending=True, stable=True)
    place = free.long().cumsum(-1) - 1
    taking = free & (place < x.shape[-2])
    row = farthest_first.gather(-1, place.clamp(0, x.shape[-2] - 1))
    taken = x.gather(-2, row.unsqueeze(-1).expand(*row.shape, x.shape[-1])).mT
    return torch.where(taking.unsqueeze(-2), taken, prototypes), wins.masked_fill(taking, EPS)


def move_winners(
    prototypes: Tensor, wins: Tensor, x: Tensor, square: Tensor
) -> tuple[Tensor, Tensor]:
    """Prototypes and their wins after the nearest have won the inputs."""
    won = F.one_hot(square.argmin(-1), wins.shape[-1]).to(x.dtype)
    total = won.sum(-2)
    wins = wins + total
    change = (x.mT @ won - prototypes * total.unsqueeze(-2)) / wins.clamp(min=EPS).unsqueeze(-2)
    return prototypes + change, wins
