"""One inner step of the unsupervised learning rule of Metz et al. 2018, appendix G.

Shapes: T tasks, B examples, N_l units of layer l = 0..L, D error channels, H hidden channels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_lul.errors import InvalidInput
from lit_lul.learners.update_rule.low_rank import LowRankReadouts
from lit_lul.learners.update_rule.networks import (
    HiddenState,
    TopSignal,
    init_fan_in,
    weight_statistics,
)
from lit_lul.learners.update_rule.planes import PLANES, Signals, scale_receptive_fields
from lit_lul.learners.update_rule.settings import RuleSettings
from lit_lul.networks.mlp import MLP, Activations, Phi, full_precision


class Update(NamedTuple):
    """What an inner step subtracts from φ, before the inner rate; index l - 1 holds layer l."""

    weights: tuple[Tensor, ...]
    """ΔW^l, (T, N_{l-1}, N_l)."""
    biases: tuple[Tensor, ...]
    """Δb^l, (T, N_l)."""
    backward_weights: tuple[Tensor, ...]
    """ΔV^l, (T, N_{l-1}, N_l)."""


class UnsupervisedUpdate(nn.Module):
    """A neuron-local rule: `phi = rule(base_model, phi, x)`; its parameters are θ.

    Under autocast its hidden states and what is read from them are of the lower type; φ, the
    activations and the planes keep their own.

    Args:
        settings: sizes of θ and form of the rule; the default is the `released` preset.
    """

    def __init__(self, settings: RuleSettings | None = None) -> None:
        super().__init__()
        s = self.settings = (settings or RuleSettings()).resolve()
        assert s.inner_rate is not None and s.growth is not None
        assert s.hidden_stack is not None and s.positions is not None
        self.inner_rate, self.growth = s.inner_rate, s.growth
        self.top_signal = TopSignal(s.embedding_units, s.top_channels, s.error_channels)
        self.hidden_state = HiddenState(
            s.error_channels, s.hidden_channels, s.hidden_stack, s.positions
        )
        self.error_readout = nn.Linear(s.hidden_channels, s.error_channels)
        init_fan_in(self.error_readout.weight, s.hidden_channels)
        nn.init.zeros_(self.error_readout.bias)
        self.readouts = LowRankReadouts(
            s.plane_names, s.hidden_channels, s.readout_channels, bool(s.readout_bias)
        )
        self.merge = nn.Parameter(torch.full((len(s.plane_names),), 0.1))
        self.merge_bias = nn.Parameter(torch.zeros(())) if s.merge_bias else None

    def forward(self, base_model: MLP, phi: Phi, x: Tensor) -> Phi:
        """Turn φ into the next φ from unlabelled x (App. 1-6).

        Args:
            base_model: the network that φ belongs to; its top layer has E units.
            phi: base parameters of T tasks.
            x: one minibatch per task, (T, B, N_0), in [0, 1].

        Raises:
            InvalidInput: when the top layer's width is not the E of θ.
        """
        if base_model.sizes[-1] != self.settings.embedding_units:
            raise InvalidInput(
                f"base model with {base_model.sizes[-1]} units in its top layer: "
                f"this rule expects {self.settings.embedding_units}"
            )
        activations = base_model.forward(phi, x)
        _, h = self.propagate(phi, activations)
        update = self.compute_update(phi, activations, h)
        rate = self.inner_rate
        return Phi(
            *(
                tuple(
                    p * (1 - rate) - rate * delta for p, delta in zip(params, deltas, strict=True)
                )
                for params, deltas in zip(phi, update, strict=True)
            )
        )

    def propagate(self, phi: Phi, activations: Activations) -> tuple[list[Tensor], list[Tensor]]:
        """Carry the error signal down the network (G.4.1).

        Returns:
            d: d^0..d^L, (T, N_l, B, D).
            h: h^0..h^L, (T, N_l, B, H).
        """
        layers = len(phi.weights)
        xs = [x.mT for x in activations.x]
        zs = [z.mT for z in activations.z]
        d = [self.top_signal(xs[-1])]  # App. 31
        h: list[Tensor] = []
        for layer in range(layers, -1, -1):
            statistics = weight_statistics(phi, layer)
            bias = phi.biases[layer - 1] if layer > 0 else torch.zeros_like(statistics[..., 0])
            per_unit = torch.cat([statistics, bias.unsqueeze(-1)], dim=-1)
            h.append(self.hidden_state(d[-1], xs[layer], zs[layer], per_unit))  # App. 36
            if layer > 0:
                r = self.error_readout(h[-1])
                gate = torch.sigmoid(zs[layer]).unsqueeze(-1).to(r.dtype)
                delta = torch.addcmul(r, d[-1].to(r.dtype), gate)  # App. 33
                below = phi.backward_weights[layer - 1] @ delta.flatten(2)  # App. 34
                d.append(self._normalise_error(below.unflatten(2, delta.shape[2:])))
        return d[::-1], h[::-1]

    def compute_update(self, phi: Phi, activations: Activations, h: Sequence[Tensor]) -> Update:
        """ΔW, Δb and ΔV of every layer from the hidden states (G.5, G.6)."""
        weights, biases, backward_weights = [], [], []
        for layer in range(1, len(h)):
            below = self.readouts.below(h[layer - 1])
            above, bias = self.readouts.above(h[layer])
            dtype = phi.weights[layer - 1].dtype
            low_rank = {
                name: product.to(dtype)
                for name, product in self.readouts.products(below, above).items()
            }
            v, u = activations.x[layer - 1].mT, activations.x[layer].mT
            with full_precision(v):
                weights.append(self._weight_update(phi.weights[layer - 1], low_rank, v, u))
                biases.append(self._bias_update(bias.to(dtype)))
                backward_weights.append(
                    weights[-1]
                    if self.settings.backward_update == "shared"
                    else self._weight_update(phi.backward_weights[layer - 1], low_rank, v, u)
                )
        return Update(tuple(weights), tuple(biases), tuple(backward_weights))

    def planes(self, weight: Tensor, low_rank: dict[str, Tensor], v: Tensor, u: Tensor) -> Tensor:
        """The weight-update planes of one layer (App. 43-57), (T, planes, N_v, N_u)."""
        assert self.settings.hebb is not None and self.settings.signed_squares is not None
        signals = Signals(
            scale_receptive_fields(weight),
            low_rank,
            v,
            u,
            self.settings.hebb,
            self.settings.signed_squares,
        )
        return torch.stack([PLANES[name](signals) for name in self.settings.plane_names], dim=1)

    def _weight_update(
        self, weight: Tensor, low_rank: dict[str, Tensor], v: Tensor, u: Tensor
    ) -> Tensor:
        """Merge the planes into ΔW of one layer (App. 59-62), (T, N_v, N_u)."""
        planes = self._normalise_update(self.planes(weight, low_rank, v, u))
        n_planes = planes.shape[1]
        merged = (self.merge.view(-1, 1, 1) * planes).sum(1)
        if self.merge_bias is not None:
            merged = merged + self.merge_bias
        merged = merged / n_planes
        w = scale_receptive_fields(weight)
        shrinking = F.relu((merged * w).mean((-2, -1), keepdim=True))
        update = merged - w * shrinking
        if self.settings.divide_by_planes:
            update = update / math.sqrt(n_planes)
        return self._normalise_update(update) - self.growth * w

    def _bias_update(self, readout: Tensor) -> Tensor:
        """Δb (T, N) from the readout of every unit and example (T, N, B) (App. 63-64)."""
        base = readout.sum(-1) if self.settings.bias_pooling == "sum" else readout.mean(-1)
        mean = base.mean(-1, keepdim=True)
        if self.settings.bias_constraint == "centred":
            return base - F.relu(mean)
        lifted = base + F.relu(-mean)
        return lifted * torch.rsqrt(0.5 + lifted.square().mean(-1, keepdim=True))

    def _normalise_error(self, d: Tensor) -> Tensor:
        """Scale d (T, N, B, D) to mean square 1 (App. 35)."""
        if self.settings.error_norm == "tensor":
            return d * torch.rsqrt(d.square().mean((1, 2, 3), keepdim=True))
        return d * torch.rsqrt(d.square().mean(-1, keepdim=True) + 1e-6)

    def _normalise_update(self, update: Tensor) -> Tensor:
        """Bound the mean square of planes or update, (..., N_v, N_u), by 1 (App. 59, 62)."""
        dims = (-2, -1) if self.settings.update_norm == "matrix" else (-2,)
        return update * torch.rsqrt(1 + update.square().mean(dims, keepdim=True))
