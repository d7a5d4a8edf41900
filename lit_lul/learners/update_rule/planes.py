"""The weight-update planes (G.5), one small function each.

Shapes: T tasks, B examples, layer l - 1 of N_v units below (v), layer l of N_u units above (u). A
plane is (T, N_v, N_u), like the weight.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

BETWEEN = ("zero_order", "rbf", "first_order")
"""Planes with lowRR(h_v, h_u)."""
LOWER = ("lin_lower_sym", "sqr_lower_sym")
"""Planes with the symmetric part of lowRR(h_v, h_v)."""
UPPER = ("lin_upper_sym", "sqr_upper_sym")
"""Planes with the symmetric part of lowRR(h_u, h_u)."""
SEMIDEFINITE = ("lin_upper_psd",)
"""Planes with lowRR(h_u, h_u) of one readout on both sides."""


@dataclass
class Signals:
    """What the planes of one layer are made of."""

    w: Tensor
    """Ŵ, the weight scaled per receptive field (App. 43), (T, N_v, N_u)."""
    low_rank: dict[str, Tensor]
    """The low-rank products by plane (App. 42): (T, N_v, N_u), (T, N_v, N_v) or (T, N_u, N_u)."""
    v: Tensor
    """Activations below, (T, N_v, B)."""
    u: Tensor
    """Activations above, (T, N_u, B)."""
    hebb: Literal["covariance", "correlation"]
    """The form of the Hebbian plane."""
    signed_squares: bool
    """Whether the squared symmetric planes carry the sign of Ŵ."""


def scale_receptive_fields(weight: Tensor) -> Tensor:
    """Ŵ: (T, N_v, N_u) over the root mean square of each unit's incoming weights (App. 43)."""
    return weight * torch.rsqrt(weight.square().mean(-2, keepdim=True) + 1e-6)


def symmetric_part(low_rank: Tensor) -> Tensor:
    """(M + Mᵀ)/√2 without its diagonal, of (..., N, N) (App. 51)."""
    symmetric = (low_rank + low_rank.mT) / math.sqrt(2)
    return symmetric - torch.diag_embed(torch.diagonal(symmetric, dim1=-2, dim2=-1))


def standardise(activations: Tensor) -> Tensor:
    """Centre (T, N, B) over the examples and scale each unit to mean square 1."""
    centred = activations - activations.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + 1e-6)


def soft_square(w: Tensor) -> Tensor:
    """√(1 + Ŵ²) - 1 (App. 53)."""
    return (1 + w.square()).sqrt() - 1


def w_base(s: Signals) -> Tensor:
    """App. 44."""
    return s.w


def large_decay(s: Signals) -> Tensor:
    """App. 45."""
    return s.w * s.w.abs()


def zero_order(s: Signals) -> Tensor:
    """App. 46."""
    return s.low_rank["zero_order"]


def rbf(s: Signals) -> Tensor:
    """App. 47."""
    return torch.exp(-s.w.square()) * s.low_rank["rbf"]


def first_order(s: Signals) -> Tensor:
    """App. 48."""
    return s.w * s.low_rank["first_order"]


def hebb(s: Signals) -> Tensor:
    """App. 49: covariance of the activations; in the released form minus their correlation."""
    examples = s.v.shape[-1]
    if s.hebb == "correlation":
        return -(standardise(s.v) @ standardise(s.u).mT) / examples
    v = s.v - s.v.mean(-1, keepdim=True)
    u = s.u - s.u.mean(-1, keepdim=True)
    return v @ u.mT / examples


def lin_lower_sym(s: Signals) -> Tensor:
    """App. 50-51."""
    return s.low_rank["lin_lower_sym"] @ s.w


def sqr_lower_sym(s: Signals) -> Tensor:
    """App. 52-53."""
    plane = s.low_rank["sqr_lower_sym"] @ soft_square(s.w)
    return plane * s.w.sign() if s.signed_squares else plane


def lin_upper_sym(s: Signals) -> Tensor:
    """App. 54-55."""
    return s.w @ s.low_rank["lin_upper_sym"]


def sqr_upper_sym(s: Signals) -> Tensor:
    """App. 56-57."""
    plane = soft_square(s.w) @ s.low_rank["sqr_upper_sym"]
    return plane * s.w.sign() if s.signed_squares else plane


def lin_upper_psd(s: Signals) -> Tensor:
    """Ŵ times a positive semidefinite product; in the released code alone."""
    return s.w @ s.low_rank["lin_upper_psd"]


def decorr_x(s: Signals) -> Tensor:
    """Ŵ times the correlation of the units above, scaled; in the released code alone."""
    u = standardise(s.u)
    units, examples = u.shape[-2:]
    product = s.w @ (u @ u.mT) / (examples * math.sqrt(units))
    return product * torch.rsqrt((product.square() + 1e-8).mean((-2, -1), keepdim=True))


PLANES: dict[str, Callable[[Signals], Tensor]] = {
    plane.__name__: plane
    for plane in (
        w_base,
        large_decay,
        zero_order,
        rbf,
        first_order,
        hebb,
        lin_lower_sym,
        sqr_lower_sym,
        lin_upper_sym,
        sqr_upper_sym,
        lin_upper_psd,
        decorr_x,
    )
}
