"""What the configuration says of cohorts: their sizes, and the base models they draw from."""

from dataclasses import asdict, dataclass
from functools import cache

from lit_lul.errors import InvalidInput
from lit_lul.networks.mlp import MLP
from lit_lul.tasks.balance import inner_step_cost


@dataclass
class Architectures:
    """Base models that cohorts draw from (section 4.2).

    Raises:
        InvalidInput: for bounds below one or in the wrong order.
    """

    hidden_layers: tuple[int, int] = (2, 5)
    """Bounds on the hidden layers, both included; the embedding comes on top."""
    hidden_units: tuple[int, int] = (64, 512)
    """Bounds on the units of every hidden layer, both included."""
    activation: str = "relu"
    """Nonlinearity of all layers: relu, leaky_relu, elu, swish, tanh, sigmoid, step or identity."""

    def __post_init__(self) -> None:
        for name in ("hidden_layers", "hidden_units"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise InvalidInput(
                    f"{name} from {low} to {high}: expected 1 <= lower <= upper bound"
                )
        MLP((1, 1), self.activation)

    def at(self, quantile: float, inputs: int, embedding_units: int) -> MLP:
        """The architecture at a quantile from 0 to 1 of all, sorted by the cost of an inner step.

        Args:
            quantile: uniform, it gives every number of layers and units the same probability.
            inputs: N_0.
            embedding_units: E.
        """
        sizes = _by_cost(*self.hidden_layers, *self.hidden_units, inputs, embedding_units)
        return MLP(sizes[min(int(quantile * len(sizes)), len(sizes) - 1)], self.activation)


@cache
def _by_cost(
    fewest: int, most: int, narrowest: int, widest: int, inputs: int, embedding_units: int
) -> list[tuple[int, ...]]:
    """Units per layer of every architecture within the bounds, from the cheapest on."""
    sizes = [
        (inputs, *[units] * layers, embedding_units)
        for layers in range(fewest, most + 1)
        for units in range(narrowest, widest + 1)
    ]
    return sorted(sizes, key=inner_step_cost)


@dataclass
class CohortSettings:
    """Sizes of cohorts and of their minibatches.

    Raises:
        InvalidInput: for a size below one.
    """

    cohorts: int = 8
    """Cohorts in flight on every rank; an outer step takes one truncation of each."""
    tasks: int = 32
    """T, tasks of a cohort; cohorts × tasks × ranks is the meta-batch (256 in H.2)."""
    batch_size: int = 128
    """B, unlabelled examples per task and inner step."""
    labels_per_class: int = 10
    """Examples of each class in each of the two labelled batches."""
    draws: int = 5
    """R, draws of the labelled batches that the meta-objective is averaged over (H.2)."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise InvalidInput(f"{name} {value}: expected one or more")
