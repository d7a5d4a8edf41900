"""MLPs without batch norm and with a linear top layer, as classifiers often are."""

from dataclasses import dataclass, field

from torch import Tensor

from lit_lul.networks.mlp import ACTIVATIONS, MLP, LayerStatistics, MLPParams
from lit_lul.networks.network import Activations, Networks
from lit_lul.precision import full_precision


@dataclass(frozen=True)
class PlainMLP(MLP):
    """An MLP whose outputs are logits or predictions: no batch norm, a linear top layer."""

    def activations(
        self, params: MLPParams, x: Tensor, statistics: LayerStatistics | None = None
    ) -> Activations:
        """Run x (..., T, B, N_0) through all layers."""
        xs, zs, activation = [x], [x], ACTIVATIONS[self.activation]
        with full_precision(x):
            for weight, bias in zip(params["weights"], params["biases"], strict=True):
                zs.append(xs[-1] @ weight + bias.unsqueeze(-2))
                xs.append(activation(zs[-1]))
        return Activations((*xs[:-1], zs[-1]), tuple(zs))

    def statistics(self, params: MLPParams, x: Tensor) -> LayerStatistics:
        """There are none."""
        return ()


@dataclass(frozen=True)
class PlainMLPs(Networks):
    """One `PlainMLP`.

    Raises:
        InvalidInput: for a layer without units, or an unknown activation.
    """

    hidden_units: list[int] = field(default_factory=lambda: [20])
    """Units of every hidden layer; the top layer has one for each target column."""
    activation: str = "sigmoid"
    """Nonlinearity of the hidden layers: relu, leaky_relu, elu, swish, tanh, sigmoid, step or
    identity."""

    def __post_init__(self) -> None:
        self.at(0.5, 1, 1)

    def at(self, quantile: float, inputs: int, outputs: int) -> PlainMLP:
        """The network, whatever the quantile."""
        return PlainMLP((inputs, *self.hidden_units, outputs), self.activation)
