"""From planes and readouts to the updates of one layer (G.5, G.6).

Shapes: T tasks, B examples, N_v units below, N_u units above.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.learners.metz.planes import PLANES, Signals, scale_receptive_fields
from lit_lul.learners.metz.settings import UpdateSettings
from lit_lul.precision import full_precision


class Update(NamedTuple):
    """The update of all layers before the inner rate is applied; index l - 1 holds layer l."""

    weights: tuple[Tensor, ...]
    """ΔW^l, (T, N_{l-1}, N_l)."""
    biases: tuple[Tensor, ...]
    """Δb^l, (T, N_l)."""
    backward_weights: tuple[Tensor, ...]
    """ΔV^l, (T, N_{l-1}, N_l)."""


class PlaneSum:
    """The update of W or V of one layer, from planes that are added one by one (App. 43-62).

    So no more than a few tensors of the weight's size exist at once when no gradient is needed.

    Args:
        settings: form of the rule.
        merge: a weight for each plane, (planes,), in the order of `settings.plane_names`.
        merge_bias: constant added to the weighted sum, (); None for none.
        weight: W or V, (T, N_v, N_u).
        v: activations below, (T, N_v, B).
        u: activations above, (T, N_u, B).
    """

    def __init__(
        self,
        settings: UpdateSettings,
        merge: Tensor,
        merge_bias: Tensor | None,
        weight: Tensor,
        v: Tensor,
        u: Tensor,
    ) -> None:
        self._settings, self._bias = settings, merge_bias
        self._merge = dict(zip(settings.plane_names, merge.unbind(), strict=True))
        w = scale_receptive_fields(weight)
        self._signals = Signals(w, v, u, settings.hebb, settings.signed_squares)
        self._total = torch.zeros_like(w)

    def plane(self, name: str, low_rank: Tensor | None) -> Tensor:
        """A plane (T, N_v, N_u), of its low-rank product if it has one."""
        dtype = self._signals.w.dtype
        return PLANES[name](self._signals, None if low_rank is None else low_rank.to(dtype))

    def add(self, name: str, low_rank: Tensor | None) -> None:
        """Add a plane, normalised and weighted."""
        with full_precision(self._signals.w):
            plane = _normalise(self._settings, self.plane(name, low_rank))
            self._total = torch.addcmul(self._total, plane, self._merge[name])

    def update(self) -> Tensor:
        """ΔW or ΔV, (T, N_v, N_u), once all planes are added."""
        w, n_planes = self._signals.w, len(self._merge)
        with full_precision(w):
            merged = self._total if self._bias is None else self._total + self._bias
            merged = merged / n_planes
            shrinking = F.relu((merged * w).mean((-2, -1), keepdim=True))
            update = merged - w * shrinking
            if self._settings.divide_by_planes:
                update = update / math.sqrt(n_planes)
            return _normalise(self._settings, update) - self._settings.growth * w


def bias_update(settings: UpdateSettings, readout: Tensor) -> Tensor:
    """Δb (T, N) from the readout of every unit and example (T, N, B) (App. 63-64)."""
    base = readout.sum(-1) if settings.bias_pooling == "sum" else readout.mean(-1)
    mean = base.mean(-1, keepdim=True)
    if settings.bias_constraint == "centred":
        return base - F.relu(mean)
    lifted = base + F.relu(-mean)
    return lifted * torch.rsqrt(0.5 + lifted.square().mean(-1, keepdim=True))


def _normalise(settings: UpdateSettings, update: Tensor) -> Tensor:
    """Bound the mean square of planes or update, (..., N_v, N_u), by 1 (App. 59, 62)."""
    if settings.update_norm == "none":
        return update
    dims = (-2, -1) if settings.update_norm == "matrix" else (-2,)
    return update * torch.rsqrt(1 + update.square().mean(dims, keepdim=True))
