"""A linear map without bias.

Shapes: T tasks, B examples, N_0 inputs, E outputs.
"""

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from lit_lul.constraints import Checked, PositiveInt
from lit_lul.networks.network import Activations, Network, Networks, Statistics
from lit_lul.precision import full_precision

START_STD = 0.01


class LinearParams(TypedDict):
    """φ of T tasks."""

    weight: Tensor
    """W, (T, N_0, E)."""


@dataclass(frozen=True)
class Linear(Checked, Network):
    """Outputs x W: with squared error, a quadratic function of φ."""

    inputs: PositiveInt
    """N_0."""
    outputs: PositiveInt
    """E."""

    @property
    def cost(self) -> float:
        """The number of weights."""
        return self.inputs * self.outputs

    def init(
        self, tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> LinearParams:
        """Draw φ from a normal distribution close to 0."""
        shape = (tasks, self.inputs, self.outputs)
        weight = torch.randn(shape, generator=generator, device=generator.device)
        return {"weight": (START_STD * weight).to(dtype)}

    def activations(
        self, params: LinearParams, x: Tensor, statistics: Statistics | None = None
    ) -> Activations:
        """Inputs and outputs of x (..., T, B, N_0)."""
        with full_precision(x):
            outputs = x @ params["weight"]
        return Activations((x, outputs), (x, outputs))

    def statistics(self, params: LinearParams, x: Tensor) -> Statistics:
        """There are none."""
        return ()


@dataclass(frozen=True)
class Linears(Networks):
    """The one linear map from a task's inputs to its targets."""

    def at(self, quantile: float, inputs: int, outputs: int) -> Linear:
        """The linear map."""
        return Linear(inputs, outputs)
