"""What the configuration says of cohorts: their sizes, and the base models they draw from."""

from dataclasses import asdict, dataclass

import numpy as np

from lit_lul.base_model import MLP
from lit_lul.errors import InvalidInput


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

    def sample(self, inputs: int, embedding_units: int, rng: np.random.Generator) -> MLP:
        """Draw an architecture for `inputs` input dimensions."""
        layers = int(rng.integers(*self.hidden_layers, endpoint=True))
        units = int(rng.integers(*self.hidden_units, endpoint=True))
        return MLP((inputs, *[units] * layers, embedding_units), self.activation)


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
