"""Sets of MLPs that cohorts of tasks draw from."""

from dataclasses import dataclass, field
from functools import cache

from lit_lul.errors import InvalidInput
from lit_lul.networks.mlp import MLP, LinearHeadMLP, check_activation
from lit_lul.networks.network import Networks


@dataclass(frozen=True)
class MLPs(Networks):
    """MLPs with equal hidden widths; every depth and width is equally likely (section 4.2).

    Raises:
        InvalidInput: for bounds below one or in the wrong order, or an unknown activation.
    """

    hidden_layers: tuple[int, int] = (2, 5)
    """Bounds on the hidden layers, both included; the embedding comes on top."""
    hidden_units: tuple[int, int] = (64, 512)
    """Bounds on the units of every hidden layer, both included."""
    activation: str = "relu"
    """Nonlinearity of all layers: relu, leaky_relu, elu, swish, tanh, sigmoid, step or identity."""
    batch_norm: bool = True
    """Whether layers are normalised; the paper's are."""

    def __post_init__(self) -> None:
        for name in ("hidden_layers", "hidden_units"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise InvalidInput(
                    f"{name} from {low} to {high}: expected 1 <= lower <= upper bound"
                )
        check_activation(self.activation)

    def __str__(self) -> str:
        """As `repr`, without a newer setting at its default: checkpoints and reports name it so."""
        return repr(self).replace(", batch_norm=True", "")

    def at(self, quantile: float, inputs: int, outputs: int) -> MLP:
        """The MLP at a quantile of all MLPs sorted by the cost of an inner step."""
        every = _by_cost(self, inputs, outputs)
        return every[min(int(quantile * len(every)), len(every) - 1)]


@dataclass(frozen=True)
class LinearHeadMLPs(Networks):
    """One `LinearHeadMLP`.

    Raises:
        InvalidInput: for a layer without units, or an unknown activation.
    """

    hidden_units: list[int] = field(default_factory=lambda: [256, 128])
    """Units of every hidden layer; the linear head comes on top."""
    activation: str = "relu"
    """Nonlinearity of the hidden layers: relu, leaky_relu, elu, swish, tanh, sigmoid, ..."""
    batch_norm: bool = True
    """Whether hidden layers are normalised."""

    def __post_init__(self) -> None:
        self.at(0.5, 1, 1)

    def at(self, quantile: float, inputs: int, outputs: int) -> LinearHeadMLP:
        """The network, whatever the quantile."""
        sizes = (inputs, *self.hidden_units, outputs)
        return LinearHeadMLP(sizes, self.activation, self.batch_norm)


@cache
def _by_cost(mlps: MLPs, inputs: int, outputs: int) -> list[MLP]:
    """All MLPs within the bounds, cheapest first."""
    (fewest, most), (narrowest, widest) = mlps.hidden_layers, mlps.hidden_units
    every = [
        MLP((inputs, *[units] * layers, outputs), mlps.activation, mlps.batch_norm)
        for layers in range(fewest, most + 1)
        for units in range(narrowest, widest + 1)
    ]
    return sorted(every, key=lambda mlp: mlp.cost)
