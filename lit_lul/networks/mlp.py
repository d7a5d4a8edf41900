"""The paper's network: a batch-normalised MLP (appendix G.2).

Shapes: T tasks, B examples, N_l units of layer l = 0..L (N_0 inputs, N_L = E, the embedding).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, NotRequired, TypeAlias, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.constraints import Checked, Length, PositiveInt
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

BATCH_NORM_EPS = 1e-6
WEIGHT_STD = 0.01
BIAS_STD = 0.1
WEIGHTS_PER_UNIT = 1000
"""About how many weights cost an inner step as much as one unit does, at the paper's sizes."""


def step(z: Tensor) -> Tensor:
    """1 where z > 0, else 0."""
    return (z > 0).to(z.dtype)


def identity(z: Tensor) -> Tensor:
    """Return z unchanged."""
    return z


Activation: TypeAlias = Literal[
    "relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid", "step", "identity"
]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "step": step,
    "identity": identity,
}
"""The nonlinearities of figure 5, by name."""


class MLPParams(TypedDict):
    """φ of T tasks (App. 7-12); index l - 1 holds layer l."""

    weights: tuple[Tensor, ...]
    """W^l, (T, N_{l-1}, N_l)."""
    biases: tuple[Tensor, ...]
    """b^l, (T, N_l)."""
    readout: NotRequired[Tensor]
    """Gains of the layers that are read out, see `Readout`, (T, layers)."""


LayerStatistics = tuple[tuple[Tensor, Tensor], ...]
"""Mean and variance over a batch of every layer's W x, (T, 1, N_l) each."""


def truncated_normal(std: float, *shape: int, generator: torch.Generator) -> Tensor:
    """A normal truncated at two standard deviations, float32 on the generator's device."""
    tensor = torch.empty(shape, device=generator.device)
    return torch.nn.init.trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std, generator=generator)


@dataclass(frozen=True)
class MLP(Checked, RowNetwork):
    """An MLP of any depth and width, usually with batch norm in every layer."""

    sizes: Annotated[tuple[PositiveInt, ...], Length(2)]
    """Units per layer, inputs first and embedding last: N_0, ..., N_L."""
    activation: Activation = "relu"
    """One of `ACTIVATIONS`, used in every layer, the top one included."""
    batch_norm: bool = True
    """Whether layers are normalised; the paper's are."""
    readout: Readout = Readout.TOP
    """What the embedding is; the paper's is the top layer (App. 17)."""
    linear_head: ClassVar[bool] = False
    """Whether the top layer is W x + b alone, without batch norm and nonlinearity."""

    @property
    def inputs(self) -> int:  # type: ignore[override]  # a value derived from `sizes`
        """N_0."""
        return self.sizes[0]

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """E."""
        return self.sizes[-1]

    @property
    def cost(self) -> float:
        """Units plus a share of the weights: the rule's own networks run at every unit."""
        weights = sum(below * above for below, above in pairwise(self.sizes))
        return sum(self.sizes) + weights / WEIGHTS_PER_UNIT

    def init(
        self, tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> MLPParams:
        """Draw φ from normals truncated at two standard deviations."""
        layers = list(pairwise(self.sizes))

        def draw(std: float, *shape: int) -> Tensor:
            return truncated_normal(std, tasks, *shape, generator=generator).to(dtype)

        params: MLPParams = {
            "weights": tuple(draw(WEIGHT_STD, below, units) for below, units in layers),
            "biases": tuple(draw(BIAS_STD, units) for _, units in layers),
        }
        if self.readout is not Readout.TOP:
            params["readout"] = params["biases"][0].new_ones(
                tasks, len(self.sizes[self.readout.first :])
            )
        return params

    def activations(
        self, params: MLPParams, x: Tensor, statistics: LayerStatistics | None = None
    ) -> Activations:
        """Run x (..., T, B, N_0) through all layers (App. 13-15)."""
        return self._run(params, x, statistics)[0]

    def receptive_fields(self, params: MLPParams) -> Tensor:
        """Weights of the first layer, (T, N_0, N_1)."""
        return params["weights"][0]

    def reordered(self, tree: Tree, order: Tensor) -> Tree:
        """A state or φ of T tasks with the inputs of each reordered by its `order`, (T, N_0).

        This reorders the first layer of everything that has the shapes of the weights: W, and what
        a learner keeps for every weight, such as V.
        """
        if isinstance(tree, dict):
            return {name: self.reordered(part, order) for name, part in tree.items()}
        if isinstance(tree, tuple | list) and tree and isinstance(tree[0], Tensor):
            if tree[0].shape == (len(order), *self.sizes[:2]):
                index = order.unsqueeze(-1).expand(tree[0].shape)
                return type(tree)([tree[0].gather(1, index), *tree[1:]])
            return tree
        if isinstance(tree, tuple | list):
            return type(tree)([self.reordered(part, order) for part in tree])
        return tree

    def statistics_of_chunks(self, params: MLPParams, chunks: Sequence[Tensor]) -> LayerStatistics:
        """As `statistics`, of rows in chunks (n_i, N_0), from one layer to the next."""
        share = shares_of(chunks, params["weights"][0])
        statistics: LayerStatistics = ()
        for layer, weight in enumerate(params["weights"]):
            below: MLPParams = {
                "weights": params["weights"][:layer],
                "biases": params["biases"][:layer],
            }
            moments = []
            for rows in chunks:
                inputs = rows.to(weight).unsqueeze(0)
                m = self.activations(below, inputs, statistics).x[-1] @ weight
                moments.append(torch.var_mean(m, dim=-2, keepdim=True, correction=0))
            variances, means = (torch.stack(of_chunks) for of_chunks in zip(*moments, strict=True))
            mean = (share * means).sum(0)
            variance = (share * (variances + (means - mean).square())).sum(0)
            statistics = (*statistics, (mean, variance))
        return statistics

    def statistics(self, params: MLPParams, x: Tensor) -> LayerStatistics:
        """Mean and variance of every layer's W x over the B examples of x (T, B, N_0).

        Without batch norm they are 0 and 1.
        """
        return self._run(params, x, None)[1]

    def _run(
        self, params: MLPParams, x: Tensor, statistics: LayerStatistics | None
    ) -> tuple[Activations, LayerStatistics]:
        activation = ACTIVATIONS[self.activation]
        xs, zs = [x], [x]
        used: list[tuple[Tensor, Tensor]] = []
        with full_precision(x):
            for layer, (weight, bias) in enumerate(
                zip(params["weights"], params["biases"], strict=True)
            ):
                m = xs[-1] @ weight
                if self.linear_head and layer + 2 == len(self.sizes):
                    zs.append(m + bias.unsqueeze(-2))
                    xs.append(zs[-1])
                    break
                if not self.batch_norm:
                    mean = m.new_zeros(*m.shape[-3:-2], 1, m.shape[-1])
                    variance = torch.ones_like(mean)
                elif statistics is None:
                    mean = m.mean(-2, keepdim=True)
                    # `torch.var_mean` is several times slower
                    variance = (m - mean).square().mean(-2, keepdim=True)
                else:
                    mean, variance = statistics[layer]
                used.append((mean, variance))
                scale = torch.rsqrt(variance + BATCH_NORM_EPS)
                zs.append((m - mean) * scale + bias.unsqueeze(-2))
                xs.append(activation(zs[-1]))
        return Activations(tuple(xs), tuple(zs)), tuple(used)


@dataclass(frozen=True)
class LinearHeadMLP(MLP):
    """An MLP for classes or targets: its top layer is linear, the others are as in `MLP`."""

    linear_head = True


@dataclass(frozen=True)
class MLPs(Checked, Networks):
    """MLPs with equal hidden widths; every depth and width is equally likely (section 4.2)."""

    hidden_layers: tuple[PositiveInt, PositiveInt] = (2, 5)
    """Bounds on the hidden layers, both included; the embedding comes on top."""
    hidden_units: tuple[PositiveInt, PositiveInt] = (64, 512)
    """Bounds on the units of every hidden layer, both included."""
    activation: Activation = "relu"
    """Nonlinearity of all layers."""
    batch_norm: bool = True
    """Whether layers are normalised; the paper's are."""
    readout: Readout = Readout.TOP
    """What the embedding is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order("hidden_layers", self.hidden_layers)
        check_order("hidden_units", self.hidden_units)

    def at(self, quantile: float, inputs: int, outputs: int) -> MLP:
        """The MLP at a quantile of all MLPs sorted by the cost of an inner step."""
        every = _by_cost(self, inputs, outputs)
        return every[min(int(quantile * len(every)), len(every) - 1)]


@dataclass(frozen=True)
class LinearHeadMLPs(Checked, Networks):
    """One `LinearHeadMLP`."""

    hidden_units: list[PositiveInt] = field(default_factory=lambda: [256, 128])
    """Units of every hidden layer; the linear head comes on top."""
    activation: Activation = "relu"
    """Nonlinearity of the hidden layers."""
    batch_norm: bool = True
    """Whether hidden layers are normalised."""

    def at(self, quantile: float, inputs: int, outputs: int) -> LinearHeadMLP:
        """The network, whatever the quantile."""
        sizes = (inputs, *self.hidden_units, outputs)
        return LinearHeadMLP(sizes, self.activation, self.batch_norm)


@cache
def _by_cost(mlps: MLPs, inputs: int, outputs: int) -> list[MLP]:
    """All MLPs within the bounds, cheapest first."""
    (fewest, most), (narrowest, widest) = mlps.hidden_layers, mlps.hidden_units
    every = [
        MLP((inputs, *[units] * layers, outputs), mlps.activation, mlps.batch_norm, mlps.readout)
        for layers in range(fewest, most + 1)
        for units in range(narrowest, widest + 1)
    ]
    return sorted(every, key=lambda mlp: mlp.cost)
