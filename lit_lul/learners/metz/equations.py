"""The equations of one inner step as functions, in the order of appendix G.

Shapes: T tasks, B examples, N_v units below, N_u units above, D error channels; `...` is T, or the
two updates of W and V and then T.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.learners.metz.planes import PLANES, Signals, scale_receptive_fields
from lit_lul.learners.metz.settings import UpdateSettings
from lit_lul.precision import full_precision


def move(before: Sequence[Tensor], deltas: Sequence[Tensor], rate: float) -> tuple[Tensor, ...]:
    """The next W, b or V of every layer: p (1 - η) - η Δp (App. 5-6)."""
    return tuple(p * (1 - rate) - rate * delta for p, delta in zip(before, deltas, strict=True))


def error_signal(d: Tensor, z: Tensor, r: Tensor) -> Tensor:
    """δ = d · σ(z) + r (App. 33), (T, N_u, B, D).

    Args:
        d: signal from above, (T, N_u, B, D).
        z: pre-activations, (T, N_u, B).
        r: linear readout of the hidden state, (T, N_u, B, D).
    """
    gate = torch.sigmoid(z).unsqueeze(-1).to(r.dtype)
    return torch.addcmul(r, d.to(r.dtype), gate)


def send_down(settings: UpdateSettings, delta: Tensor, backward_weight: Tensor) -> Tensor:
    """D of the layer below, (T, N_v, B, D): V δ (App. 34), scaled to mean square 1 (App. 35).

    Args:
        settings: the scale is that of the tensor, or of each example and unit.
        delta: δ, (T, N_u, B, D).
        backward_weight: V, (T, N_v, N_u).
    """
    d: Tensor = (backward_weight @ delta.flatten(2)).unflatten(2, delta.shape[2:])
    if settings.error_norm == "tensor":
        scale = torch.rsqrt(d.square().mean((1, 2, 3), keepdim=True))
    else:
        scale = torch.rsqrt(d.square().mean(-1, keepdim=True) + 1e-6)
    return d * scale.to(d.dtype)  # autocast may have widened it


def weight_update(
    settings: UpdateSettings,
    merge: Tensor,
    merge_bias: Tensor | None,
    weight: Tensor,
    v: Tensor,
    u: Tensor,
    low_rank: Mapping[str, Callable[[], Tensor]],
) -> Tensor:
    """ΔW of one layer, or ΔW and ΔV, (..., N_v, N_u) (App. 43-62).

    Planes and their low-rank products are made one after another, so that no more than a few
    tensors of the weight's size exist at once when no gradient is needed.

    Args:
        settings: form of the rule.
        merge: θ_merge, (planes,), in the order of `settings.plane_names`.
        merge_bias: constant added to the weighted sum, (); None for none.
        weight: W, or W and V, (..., N_v, N_u).
        v: activations below, (T, N_v, B).
        u: activations above, (T, N_u, B).
        low_rank: functions that compute the low-rank products, by plane (App. 42).
    """
    with full_precision(weight):
        w = scale_receptive_fields(weight)  # App. 43
        signals = Signals(w, v, u, settings.hebb, settings.signed_squares)

        def plane(name: str) -> Tensor:
            product = low_rank[name]().to(w.dtype) if name in low_rank else None
            return normalise(settings, PLANES[name](signals, product))  # App. 44-57, 59

        merged = merge_planes(map(plane, settings.plane_names), merge, merge_bias)
        update = without_shrinking(merged, w)
        if settings.divide_by_planes:
            update = update / math.sqrt(len(merge))
        return normalise(settings, update) - settings.growth * w  # App. 62


def normalise(settings: UpdateSettings, update: Tensor) -> Tensor:
    """Bound the mean square of planes or update, (..., N_v, N_u), by 1 (App. 59, 62)."""
    if settings.update_norm == "none":
        return update
    dims = (-2, -1) if settings.update_norm == "matrix" else (-2,)
    return update * torch.rsqrt(1 + update.square().mean(dims, keepdim=True))


def merge_planes(planes: Iterable[Tensor], merge: Tensor, bias: Tensor | None) -> Tensor:
    """Mean of the planes (..., N_v, N_u), weighted by θ_merge (planes,) (App. 60).

    The released form adds a learned bias, (), to the weighted sum.
    """
    total = merge.new_zeros(()) if bias is None else bias
    for plane, weight in zip(planes, merge.unbind(), strict=True):
        total = torch.addcmul(total, plane, weight)
    return total / len(merge)


def without_shrinking(update: Tensor, w: Tensor) -> Tensor:
    """Remove the part of the update along Ŵ that would shrink W (App. 61), (..., N_v, N_u).

    Updates are subtracted, so a positive projection shrinks.
    """
    return update - w * F.relu((update * w).mean((-2, -1), keepdim=True))


def bias_update(settings: UpdateSettings, readout: Tensor) -> Tensor:
    """Δb (T, N) from the readout of every unit and example (T, N, B) (App. 63-64)."""
    base = readout.sum(-1) if settings.bias_pooling == "sum" else readout.mean(-1)
    mean = base.mean(-1, keepdim=True)
    if settings.bias_constraint == "centred":
        return base - F.relu(mean)
    lifted = base + F.relu(-mean)
    return lifted * torch.rsqrt(0.5 + lifted.square().mean(-1, keepdim=True))
