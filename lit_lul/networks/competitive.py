"""A network of components and of prototypes, which share every input and excite their neighbours.

Shapes: T tasks, B examples, N_0 inputs, E components, K prototypes, S steps of excitation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypedDict

import torch
from torch import Tensor

from lit_lul.constraints import Checked, PositiveInt
from lit_lul.networks.mlp import LayerStatistics
from lit_lul.networks.network import (
    Activations,
    Networks,
    Readout,
    RowNetwork,
    check_order,
    shares_of,
)
from lit_lul.precision import full_precision
from lit_lul.trees import Tree

EXCITATIONS = 8
"""S, the largest number of steps that excitation spreads."""
PROTOTYPE_STD = 0.01
WINNERS = 5
"""Prototypes that share an input."""
EPS = 1e-9
"""Added to squared distances and mean squares before they are divided by or their root is taken."""
SELDOM = 1e-3
"""Added to what a prototype wins, as a share of the mean, before it is divided by."""


class CompetitiveParams(TypedDict):
    """φ of T tasks."""

    scales: Tensor
    """Factors of the inputs, for components and for distances from prototypes, (T, 2, N_0)."""
    components: Tensor
    """Linear weights, (T, N_0, E)."""
    prototypes: Tensor
    """Places in the space of inputs, (T, N_0, K)."""
    reach: Tensor
    """Squared distance at which the response of a prototype has fallen to 1/e, as a share of the
    mean over all prototypes, (T,)."""
    lateral: Tensor
    """Mean product of the shares that every two prototypes have of an input, (T, K, K)."""
    spread: Tensor
    """Weights of 0 to S steps of excitation, (T, S + 1)."""
    readout: Tensor
    """Gains of the three layers in the embedding, (T, 3)."""


class Responses(NamedTuple):
    """Layers before they are centred and scaled, (..., T, B, units)."""

    components: Tensor
    prototypes: Tensor
    neighbourhoods: Tensor
    unexcited: Tensor
    """Neighbourhoods without excitation."""


@dataclass(frozen=True)
class CompetitiveNetwork(Checked, RowNetwork):
    """Three layers side by side, all of them read out.

    - *Components*: E linear units.
    - *Prototypes*: how close each of K prototypes is, exp(-d²/r): radial basis functions (Broomhead
      and Lowe 1988), whose reach r is a share of the input's mean d².
    - *Neighbourhoods*: the nearest prototypes share an input, and excite those that they are
      connected with, which excite others: a diffusion along the manifold of the inputs, on an
      anchor graph (Liu, He and Chang 2010).

    Each layer is centred, and scaled as a whole to a mean square norm of 1; neighbourhoods have the
    scale that they would have without excitation, so that they are small where inputs have none.
    """

    inputs: PositiveInt
    """N_0."""
    outputs: PositiveInt
    """E."""
    prototypes: PositiveInt
    """K."""
    readout: ClassVar[Readout] = Readout.LAYERS  # type: ignore[misc]  # a field of other networks

    @property
    def sizes(self) -> tuple[int, ...]:  # type: ignore[override]  # derived from the others
        """Units of every layer, inputs first."""
        return self.inputs, self.outputs, self.prototypes, self.prototypes

    @property
    def cost(self) -> float:
        """Number of weights."""
        return float(self.inputs * (self.outputs + self.prototypes) + self.prototypes**2)

    def init(
        self, tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> CompetitiveParams:
        """Draw components and prototypes; nothing is connected or excited."""

        def draw(std: float, units: int) -> Tensor:
            shape = (tasks, self.inputs, units)
            return std * torch.randn(shape, generator=generator, device=generator.device).to(dtype)

        components = draw(self.inputs**-0.5, self.outputs)
        ones, zeros = components.new_ones, components.new_zeros
        return {
            "scales": ones(tasks, 2, self.inputs),
            "components": components,
            "prototypes": draw(PROTOTYPE_STD, self.prototypes),
            "reach": ones(tasks),
            "lateral": zeros(tasks, self.prototypes, self.prototypes),
            "spread": torch.cat([ones(tasks, 1), zeros(tasks, EXCITATIONS)], -1),
            "readout": ones(tasks, 3),
        }

    def activations(
        self, params: CompetitiveParams, x: Tensor, statistics: LayerStatistics | None = None
    ) -> Activations:
        """The inputs and the three layers of x (..., T, B, N_0)."""
        with full_precision(x):
            *layers, _ = z = _respond(params, x)
            used = _statistics(z) if statistics is None else statistics
            scaled = [
                (z - mean) * torch.rsqrt(variance + EPS)
                for z, (mean, variance) in zip(layers, used, strict=True)
            ]
        return Activations((x, *scaled), (x, *layers))

    def statistics(self, params: CompetitiveParams, x: Tensor) -> LayerStatistics:
        """The mean of every layer (T, 1, units), and the mean square norm of the rest (T, 1, 1)."""
        with full_precision(x):
            return _statistics(_respond(params, x))

    def statistics_of_chunks(
        self, params: CompetitiveParams, chunks: Sequence[Tensor]
    ) -> LayerStatistics:
        """As `statistics`, of rows in chunks (n_i, N_0)."""
        like = params["components"]
        share = shares_of(chunks, like)
        of_chunks = [_moments(_respond(params, rows.to(like).unsqueeze(0))) for rows in chunks]
        statistics = []
        for of_layer in zip(*of_chunks, strict=True):
            means, centres, norms = (
                torch.stack(moments) for moments in zip(*of_layer, strict=True)
            )
            apart = (centres - (share * centres).sum(0)).square().sum(-1, keepdim=True)
            statistics.append(((share * means).sum(0), (share * (norms + apart)).sum(0)))
        return tuple(statistics)

    def receptive_fields(self, params: CompetitiveParams) -> Tensor:
        """The prototypes, (T, N_0, K)."""
        return params["prototypes"]

    def reordered(self, tree: Tree, order: Tensor) -> Tree:
        """φ, or a state at its start, with the inputs of each task reordered by `order`."""
        if not isinstance(tree, dict):
            return tree
        moved = {name: self.reordered(part, order) for name, part in tree.items()}
        for name in {"components", "prototypes"} & tree.keys():
            index = order.unsqueeze(-1).expand(tree[name].shape)
            moved[name] = tree[name].gather(1, index)
        if "scales" in tree:
            moved["scales"] = tree["scales"].gather(
                -1, order.unsqueeze(1).expand(tree["scales"].shape)
            )
        return moved


@dataclass(frozen=True)
class CompetitiveNetworks(Checked, Networks):
    """Competitive networks; every number of prototypes is equally likely."""

    prototypes: tuple[PositiveInt, PositiveInt] = (256, 256)
    """Bounds on K, both included."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order("prototypes", self.prototypes)

    def at(self, quantile: float, inputs: int, outputs: int) -> CompetitiveNetwork:
        """The network at a quantile of the numbers of prototypes."""
        low, high = self.prototypes
        prototypes = min(low + int(quantile * (high - low + 1)), high)
        return CompetitiveNetwork(inputs, outputs, prototypes)


def squared_distances(x: Tensor, prototypes: Tensor, scales: Tensor) -> Tensor:
    """Squared distances of inputs (..., T, B, N_0) from prototypes (T, N_0, K): (..., T, B, K).

    Args:
        x: the inputs.
        prototypes: the prototypes.
        scales: factors of the inputs, (T, N_0).
    """
    x, prototypes = x * scales.unsqueeze(-2), prototypes * scales.unsqueeze(-1)
    lengths = x.square().sum(-1, keepdim=True) + prototypes.square().sum(-2, keepdim=True)
    return (lengths - 2 * (x @ prototypes)).clamp(min=0)


def shares(square: Tensor) -> Tensor:
    """Shares that prototypes have of an input, (..., K): the nearest few some, all others none.

    A share falls linearly with the squared distance, to 0 at the nearest prototype without one: so
    shares do not depend on how dense inputs are. They add up to 1.

    Args:
        square: squared distances from the prototypes, (..., K).
    """
    if square.shape[-1] == 1:
        return torch.ones_like(square)
    count = min(WINNERS, square.shape[-1] - 1)
    nearest = square.topk(count + 1, dim=-1, largest=False).values
    first, without = nearest[..., :1], nearest[..., -1:]
    near = (1 - (square - first) / (without - first).clamp(min=EPS)).clamp(min=0)
    return near / near.sum(-1, keepdim=True)


def _respond(params: CompetitiveParams, x: Tensor) -> Responses:
    """Run x (..., T, B, N_0) through the layers."""
    of_components, of_distances = params["scales"].unbind(-2)
    components = (x * of_components.unsqueeze(-2)) @ params["components"]
    square = squared_distances(x, params["prototypes"], of_distances)
    reach = params["reach"][..., None, None] * square.mean(-1, keepdim=True)
    close = torch.exp(-square / (reach + EPS))
    wins = params["lateral"].sum(-1)  # shares add up to 1, so this is the mean share
    root = torch.rsqrt(wins + SELDOM * wins.mean(-1, keepdim=True) + EPS)
    connections = root.unsqueeze(-1) * params["lateral"] * root.unsqueeze(-2)
    unexcited = shares(square) * root.unsqueeze(-2)
    *weights, farthest = params["spread"][..., None, None].unbind(-3)
    excited = unexcited * farthest
    for weight in reversed(weights):  # Horner's scheme
        excited = excited @ connections + unexcited * weight
    return Responses(components, close, excited, unexcited)


Moments = tuple[Tensor, Tensor, Tensor]
"""A layer's mean; the mean of what its scale is that of, and the mean square norm of the rest."""


def _moments(z: Responses) -> list[Moments]:
    """Moments of every layer; the scale of neighbourhoods is that without excitation."""
    scaled_by = (z.components, z.prototypes, z.unexcited)
    moments = []
    for layer, like in zip(z[:3], scaled_by, strict=True):
        centre = like.mean(-2, keepdim=True)
        norm = (like - centre).square().sum(-1, keepdim=True).mean(-2, keepdim=True)
        moments.append((layer.mean(-2, keepdim=True), centre, norm))
    return moments


def _statistics(z: Responses) -> LayerStatistics:
    """Mean and mean square norm of every layer."""
    return tuple((mean, norm) for mean, _, norm in _moments(z))
