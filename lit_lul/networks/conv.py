"""A small convolutional network with a linear head, the usual one of few-shot learning (Conv4).

Shapes: T tasks, B examples, N_0 inputs (channels × side × side), C channels, E outputs. Layers
l = 1..L - 1 are convolutions, layer L is the head.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.constraints import Checked, PositiveInt
from lit_lul.errors import InvalidInput
from lit_lul.networks.mlp import (
    BATCH_NORM_EPS,
    LayerStatistics,
    MLPParams,
    truncated_normal,
)
from lit_lul.networks.network import Activations, Network, Networks
from lit_lul.precision import full_precision

KERNEL = 3
POOL = 2


@dataclass(frozen=True)
class ConvNet(Checked, Network):
    """Blocks of a 3 × 3 convolution, batch norm, 2 × 2 max pooling and relu, and a linear head.

    Batch norm has batch statistics and a bias, as in `MLP`. A block whose image is a single pixel
    does not pool. φ is that of an MLP with kernels (T, C, C_below, 3, 3) as its first weights.

    Raises:
        InvalidInput: for inputs that are no square image.
    """

    inputs: PositiveInt
    """N_0: image_channels × side × side."""
    outputs: PositiveInt
    """E, units of the head."""
    channels: PositiveInt = 32
    """C, channels of every block."""
    blocks: PositiveInt = 4
    """Number of blocks, L - 1."""
    image_channels: PositiveInt = 1
    """Channels of the images: 1 if they are grey, 3 if in colour."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_channels * self.side**2 != self.inputs:
            raise InvalidInput(
                f"ConvNet.inputs must be {self.image_channels} × side × side, the pixels of a "
                f"square image, got {self.inputs}"
            )

    @property
    def side(self) -> int:
        """Height and width of the images."""
        return math.isqrt(self.inputs // self.image_channels)

    @property
    def sides(self) -> list[int]:
        """Heights of the inputs of every block, and of the head's."""
        sides = [self.side]
        for _ in range(self.blocks):
            sides.append(max(1, sides[-1] // POOL))
        return sides

    @property
    def cost(self) -> float:
        """Multiplications of a forward pass, in millions."""
        below = [self.image_channels] + [self.channels] * (self.blocks - 1)
        kernels = KERNEL**2 * self.channels
        return sum(kernels * b * s**2 for b, s in zip(below, self.sides, strict=False)) / 1e6

    def init(
        self, tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> MLPParams:
        """Draw φ: weights of standard deviation √(2 / inputs of a unit), truncated; biases of 0."""
        below = [self.image_channels] + [self.channels] * (self.blocks - 1)
        shapes = [(self.channels, b, KERNEL, KERNEL) for b in below]

        def draw(fan_in: int, *shape: int) -> Tensor:
            std = math.sqrt(2 / fan_in)
            return truncated_normal(std, tasks, *shape, generator=generator).to(dtype)

        def zeros(units: int) -> Tensor:
            return torch.zeros(tasks, units, dtype=dtype, device=generator.device)

        features = self.channels * self.sides[-1] ** 2
        kernels = [draw(math.prod(shape[1:]), *shape) for shape in shapes]
        return {
            "weights": (*kernels, draw(features, features, self.outputs)),
            "biases": (*(zeros(self.channels) for _ in kernels), zeros(self.outputs)),
        }

    def activations(
        self, params: MLPParams, x: Tensor, statistics: LayerStatistics | None = None
    ) -> Activations:
        """Run x (..., T, B, N_0) through all blocks and the head; N_l is channels × pixels."""
        return self._run(params, x, statistics)[0]

    def statistics(self, params: MLPParams, x: Tensor) -> LayerStatistics:
        """Mean and variance (T, 1, C) of every block's channels, over x (T, B, N_0)."""
        found = []
        for m in self._run(params, x, None)[1]:
            of_tasks = m.view(len(m), len(x), self.channels, -1)
            variance, mean = torch.var_mean(of_tasks, dim=(0, 3), correction=0)
            found.append((mean.unsqueeze(1), variance.unsqueeze(1)))
        return tuple(found)

    def _run(
        self, params: MLPParams, x: Tensor, statistics: LayerStatistics | None
    ) -> tuple[Activations, list[Tensor]]:
        """All layers, and what every convolution gives, (B, groups × C, height, width)."""
        lead, groups = x.shape[:-2], x.shape[:-2].numel()  # a group of channels for each task

        def of_groups(tensor: Tensor) -> Tensor:
            joined: Tensor = tensor.expand(*lead, *tensor.shape[1:]).flatten(0, len(lead) - 1)
            return joined

        def layer(images: Tensor) -> Tensor:
            of_all: Tensor = images.view(len(images), groups, -1).transpose(0, 1).unflatten(0, lead)
            return of_all

        xs, zs = [x], [x]
        convolved = []
        *kernels, head = params["weights"]
        *biases, head_bias = params["biases"]
        images = x.reshape(groups, -1, self.image_channels, self.side, self.side)
        images = images.transpose(0, 1).flatten(1, 2)
        with full_precision(x):
            for block, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
                weight = of_groups(kernel).flatten(0, 1)
                m = F.conv2d(images, weight, padding=KERNEL // 2, groups=groups)
                if statistics is None:
                    normal = F.batch_norm(m, None, None, training=True, eps=BATCH_NORM_EPS)
                else:
                    mean, variance = (of_groups(part).flatten() for part in statistics[block])
                    normal = F.batch_norm(m, mean, variance, eps=BATCH_NORM_EPS)
                convolved.append(m)
                pooled = F.max_pool2d(normal, min(POOL, m.shape[-1]))
                z = pooled + of_groups(bias).reshape(-1, 1, 1)
                images = F.relu(z)
                zs.append(layer(z))
                xs.append(layer(images))
            zs.append(xs[-1] @ head + head_bias.unsqueeze(-2))
            xs.append(zs[-1])
        return Activations(tuple(xs), tuple(zs)), convolved


@dataclass(frozen=True)
class ConvNets(Checked, Networks):
    """One `ConvNet`."""

    channels: PositiveInt = 32
    """Channels of every block."""
    blocks: PositiveInt = 4
    """Number of blocks."""
    image_channels: PositiveInt = 1
    """Channels of the images: 1 if they are grey, 3 if in colour."""

    def at(self, quantile: float, inputs: int, outputs: int) -> ConvNet:
        """The network, whatever the quantile."""
        return ConvNet(inputs, outputs, self.channels, self.blocks, self.image_channels)
