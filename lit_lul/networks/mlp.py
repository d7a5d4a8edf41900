"""The base model: a batch-normalised MLP whose φ carries a leading task axis (appendix G.2).

Shapes: T tasks, B examples, N_l units of layer l = 0..L (N_0 inputs, N_L = E, the embedding).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.errors import InvalidInput

BATCH_NORM_EPS = 1e-6
WEIGHT_STD = 0.01
BIAS_STD = 0.1


def step(z: Tensor) -> Tensor:
    """1 where z > 0, else 0."""
    return (z > 0).to(z.dtype)


def identity(z: Tensor) -> Tensor:
    """Z itself."""
    return z


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
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


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast, on the device of a tensor: for φ and all but hidden states."""
    return torch.autocast(like.device.type, enabled=False)


class Phi(NamedTuple):
    """The base parameters φ of T tasks; index l - 1 holds layer l."""

    weights: tuple[Tensor, ...]
    """W^l, (T, N_{l-1}, N_l)."""
    biases: tuple[Tensor, ...]
    """b^l, (T, N_l)."""
    backward_weights: tuple[Tensor, ...]
    """V^l, (T, N_{l-1}, N_l): they carry the error signal down (App. 34)."""

    def map(self, function: Callable[[Tensor], Tensor]) -> "Phi":
        """Apply `function` to every tensor."""
        return Phi(*(tuple(function(tensor) for tensor in group) for group in self))


class Activations(NamedTuple):
    """What one forward pass computes (App. 16); index l holds layer l."""

    x: tuple[Tensor, ...]
    """x^0..x^L, (..., T, B, N_l)."""
    z: tuple[Tensor, ...]
    """z^0..z^L, (..., T, B, N_l); z^0 stands for x^0, as the rule needs it (G.8)."""


@dataclass(frozen=True)
class MLP:
    """An MLP of any depth and width: its architecture; the parameters are φ.

    Raises:
        InvalidInput: without a layer, with a layer of no units, or with an unknown activation.
    """

    sizes: tuple[int, ...]
    """Units per layer, inputs first and embedding last: N_0, ..., N_L."""
    activation: str = "relu"
    """One of `ACTIVATIONS`, used in every layer, the top one included."""

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise InvalidInput(
                f"base model sizes {list(self.sizes)}: expected inputs and at least one layer, "
                "each of one unit or more"
            )
        if self.activation not in ACTIVATIONS:
            raise InvalidInput(
                f"activation {self.activation!r}: expected one of {', '.join(ACTIVATIONS)}"
            )

    def init(
        self, tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> Phi:
        """Draw φ for T = `tasks` tasks: truncated normals, cut at two standard deviations.

        The tensors live on the generator's device.
        """

        def draw(std: float, *shape: int) -> Tensor:
            tensor = torch.empty(shape, dtype=dtype, device=generator.device)
            return torch.nn.init.trunc_normal_(
                tensor, std=std, a=-2 * std, b=2 * std, generator=generator
            )

        layers = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        return Phi(
            weights=tuple(draw(WEIGHT_STD, tasks, below, units) for below, units in layers),
            biases=tuple(draw(BIAS_STD, tasks, units) for _, units in layers),
            backward_weights=tuple(
                draw(WEIGHT_STD, tasks, below, units) for below, units in layers
            ),
        )

    def forward(self, phi: Phi, x: Tensor) -> Activations:
        """Run x (..., T, B, N_0) through all layers (App. 13-15).

        Batch norm uses the statistics of the B examples and nothing else.
        """
        activation = ACTIVATIONS[self.activation]
        xs, zs = [x], [x]
        with full_precision(x):
            for weight, bias in zip(phi.weights, phi.biases, strict=True):
                m = xs[-1] @ weight
                variance, mean = torch.var_mean(m, dim=-2, keepdim=True, correction=0)
                scale = torch.rsqrt(variance + BATCH_NORM_EPS)
                zs.append((m - mean) * scale + bias.unsqueeze(-2))
                xs.append(activation(zs[-1]))
        return Activations(tuple(xs), tuple(zs))

    def embed(self, phi: Phi, x: Tensor) -> Tensor:
        """The top activations x^L (..., T, B, E) of x (..., T, B, N_0) (App. 17)."""
        return self.forward(phi, x).x[-1]
