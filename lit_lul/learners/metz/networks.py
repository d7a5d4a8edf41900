"""The two networks of θ, topD (G.7) and computeH (G.8): convolutions over batch and units.

Shapes: T tasks, N units, B examples, C channels. All tensors are (T, N, B, C) in memory. Viewed as
channels-last images of N × B pixels, a convolution along one axis is a `conv2d`, which needs no
copies and never mixes tasks. Under autocast all hidden states have its dtype.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_lul.learners.metz.norm import Norm
from lit_lul.precision import full_precision


def init_fan_in(weight: Tensor, fan_in: int) -> None:
    """Fill with a normal of std 1/√fan_in, truncated at two standard deviations."""
    std = 1 / math.sqrt(fan_in)
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class AxisConv(nn.Module):
    """1-D convolution along the batch or the units, zero-padded to keep the length."""

    def __init__(
        self,
        axis: Literal["batch", "units"],
        channels_in: int,
        channels_out: int,
        kernel: int = 3,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (1, kernel) if axis == "batch" else (kernel, 1)
        self.padding = (shape[0] // 2, shape[1] // 2)
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, *shape))
        self.bias = nn.Parameter(torch.zeros(channels_out)) if bias else None
        init_fan_in(self.weight, kernel * channels_in)

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, B, channels_in) to (T, N, B, channels_out)."""
        y = F.conv2d(x.permute(0, 3, 1, 2), self.weight, self.bias, padding=self.padding)
        return y.permute(0, 2, 3, 1)


class ConvNormRelu(nn.Module):
    """A convolution along one axis, then `Norm`, then relu.

    The convolution has no bias, unlike in the paper: the norm would remove it.
    """

    def __init__(
        self, axis: Literal["batch", "units"], channels_in: int, channels_out: int, kernel: int = 3
    ) -> None:
        super().__init__()
        self.conv = AxisConv(axis, channels_in, channels_out, kernel, bias=False)
        self.norm = Norm(channels_out, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, B, channels_in) to (T, N, B, channels_out)."""
        y: Tensor = self.norm(self.conv(x))
        return y


class TopSignal(nn.Module):
    """topD: the error signal at the top, a function of the embedding (App. 65-79).

    Two of its layers take the E units as channels, which fixes E in θ.
    """

    def __init__(self, embedding_units: int, top_channels: int, error_channels: int) -> None:
        super().__init__()
        self.gather = ConvNormRelu("batch", 1, top_channels, kernel=5)
        self.mix_units = nn.Sequential(
            ConvNormRelu("batch", embedding_units, embedding_units),
            ConvNormRelu("batch", embedding_units, embedding_units),
        )
        self.refine = nn.Sequential(
            ConvNormRelu("batch", top_channels, top_channels),
            ConvNormRelu("batch", top_channels, top_channels),
        )
        self.readout = AxisConv("batch", top_channels, error_channels)

    def forward(self, embedding: Tensor) -> Tensor:
        """d^L (T, E, B, D) of x^L (T, E, B), in full precision: everything else depends on it."""
        with full_precision(embedding):
            m = self.gather(embedding.unsqueeze(-1))
            m = self.mix_units(m.transpose(1, 3).contiguous())
            m = self.refine(m.transpose(1, 3).contiguous())
            d: Tensor = self.readout(m)
        return d


class Residual(nn.Module):
    """ConvB, then a residual branch of two ConvU: half of the released computeH."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.batch = ConvNormRelu("batch", channels_in, channels)
        self.units = nn.Sequential(
            ConvNormRelu("units", channels, channels), ConvNormRelu("units", channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, B, channels_in) to (T, N, B, channels)."""
        m = self.batch(x)
        branch: Tensor = self.units(m)
        # the gradient of relu needs its output as it is
        return m + branch if torch.is_grad_enabled() else branch.add_(m)


class HiddenState(nn.Module):
    """computeH: the hidden state of every unit and example (App. 80-104)."""

    def __init__(
        self,
        error_channels: int,
        hidden_channels: int,
        stack: Literal["plain", "residual"],
        positions: Literal["one_turn", "two_turns"],
    ) -> None:
        super().__init__()
        self.positions = positions
        self.input_norm = Norm(4 + error_channels)
        channels = 8 + 1 + 4 + error_channels
        self.stack = (
            nn.Sequential(
                ConvNormRelu("batch", channels, hidden_channels),
                ConvNormRelu("units", hidden_channels, hidden_channels),
                ConvNormRelu("batch", hidden_channels, hidden_channels),
                ConvNormRelu("units", hidden_channels, hidden_channels),
            )
            if stack == "plain"
            else nn.Sequential(
                Residual(channels, hidden_channels), Residual(hidden_channels, hidden_channels)
            )
        )

    def forward(self, d: Tensor, x: Tensor, z: Tensor, per_unit: Tensor) -> Tensor:
        """h^l of layer l.

        Args:
            d: error signal d^l, (T, N, B, D).
            x: activations x^l, (T, N, B).
            z: pre-activations z^l, (T, N, B).
            per_unit: weight statistics and bias of each unit, (T, N, 9).

        Returns:
            h^l, (T, N, B, H).
        """
        sine, cosine = unit_positions(self.positions, x.shape[1], x)
        m = torch.stack([x, z, sine.expand_as(x), cosine.expand_as(x)], dim=-1)  # App. 83
        m = self.input_norm(torch.cat([m.to(d.dtype), d], dim=-1))  # App. 84, 93
        per_unit = per_unit.to(d.dtype).unsqueeze(2).expand(*x.shape, -1)
        m = torch.cat([per_unit, m], dim=-1)  # App. 95
        h: Tensor = self.stack(m)
        return h


def unit_positions(
    positions: Literal["one_turn", "two_turns"], units: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Sine and cosine, (N, 1) each, of an angle that grows with the unit's index (App. 81-82)."""
    index = torch.arange(units, dtype=like.dtype, device=like.device).unsqueeze(-1)
    if positions == "one_turn":
        angle = index * (2 * math.pi / units)
    else:
        angle = index * (4 * math.pi / max(units - 1, 1))
    return angle.sin(), angle.cos()


def weight_statistics(weights: tuple[Tensor, ...], layer: int) -> Tensor:
    """Statistics of the weights into and out of every unit of one layer (App. 85-92).

    Args:
        weights: W^1..W^L.
        layer: l = 0..L. The first and last layer use their four existing statistics twice.

    Returns:
        (T, N_l, 8): four of the incoming and four of the outgoing weights, scaled together to mean
        square 1 over the layer.
    """
    incoming = _statistics(weights[layer - 1], dim=1) if layer > 0 else None
    outgoing = _statistics(weights[layer], dim=2) if layer < len(weights) else None
    both = [s for s in (incoming, outgoing) if s is not None]
    statistics = torch.cat([both[0], both[-1]], dim=-1)
    return statistics * torch.rsqrt(statistics.square().mean((1, 2), keepdim=True) + 1e-6)


def _statistics(weight: Tensor, dim: int) -> Tensor:
    mean = weight.mean(dim, keepdim=True)
    variance = (weight - mean).square().mean(dim)  # `torch.var_mean` is several times slower
    return torch.stack(
        [
            weight.abs().mean(dim),
            (weight.square().mean(dim) + 1e-6).sqrt(),
            mean.squeeze(dim),
            (variance + 1e-8).sqrt(),
        ],
        dim=-1,
    )
