"""From planes and readouts to the updates of one layer (G.5, G.6).

Shapes: T tasks, B examples, N_v units below, N_u units above.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.learners.update_rule.planes import PLANES, Signals, scale_receptive_fields
from lit_lul.learners.update_rule.settings import UpdateSettings


class Update(NamedTuple):
    """The update of all layers before the inner rate is applied; index l - 1 holds layer l."""

    weights: tuple[Tensor, ...]
    """ΔW^l, (T, N_{l-1}, N_l)."""
    biases: tuple[Tensor, ...]
    """Δb^l, (T, N_l)."""
    backward_weights: tuple[Tensor, ...]
    """ΔV^l, (T, N_{l-1}, N_l)."""


def stack_planes(
    settings: UpdateSettings, weight: Tensor, low_rank: dict[str, Tensor], v: Tensor, u: Tensor
) -> Tensor:
    """The weight-update planes of one layer (App. 43-57).

    Args:
        settings: form of the rule.
        weight: W or V, (T, N_v, N_u).
        low_rank: low-rank products by plane.
        v: activations below, (T, N_v, B).
        u: activations above, (T, N_u, B).

    Returns:
        (T, planes, N_v, N_u), in the order of `settings.plane_names`.
    """
    w = scale_receptive_fields(weight)
    signals = Signals(w, low_rank, v, u, settings.hebb, settings.signed_squares)
    return torch.stack([PLANES[name](signals) for name in settings.plane_names], dim=1)


def merge_planes(
    settings: UpdateSettings,
    merge: Tensor,
    merge_bias: Tensor | None,
    weight: Tensor,
    planes: Tensor,
) -> Tensor:
    """Merge planes (T, planes, N_v, N_u) into ΔW (T, N_v, N_u) of one layer (App. 59-62).

    Args:
        settings: form of the rule.
        merge: a weight for each plane, (planes,).
        merge_bias: constant added to the weighted sum, (); None for none.
        weight: W or V, (T, N_v, N_u).
        planes: from `stack_planes`.
    """
    planes = _normalise(settings, planes)
    n_planes = planes.shape[1]
    merged = (merge.view(-1, 1, 1) * planes).sum(1)
    if merge_bias is not None:
        merged = merged + merge_bias
    merged = merged / n_planes
    w = scale_receptive_fields(weight)
    shrinking = F.relu((merged * w).mean((-2, -1), keepdim=True))
    update = merged - w * shrinking
    if settings.divide_by_planes:
        update = update / math.sqrt(n_planes)
    return _normalise(settings, update) - settings.growth * w


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
