"""The weight-update planes (G.5), each declared once: its name, readout and computation.

Shapes: T tasks, B examples, layer l - 1 of N_v units below (v), layer l of N_u units above (u). A
plane is (T, N_v, N_u), like the weight.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Readout = Literal["between", "lower", "upper", "semidefinite"]
"""The low-rank product of hidden states that a plane reads: lowRR(h_v, h_u), (T, N_v, N_u); the
symmetric part of lowRR(h_v, h_v), (T, N_v, N_v), or of lowRR(h_u, h_u), (T, N_u, N_u); or
lowRR(h_u, h_u) of one readout on both sides, (T, N_u, N_u)."""


@dataclass
class Signals:
    """The inputs of the planes of one layer."""

    w: Tensor
    """Ŵ, the weight scaled per receptive field (App. 43), (T, N_v, N_u)."""
    v: Tensor
    """Activations below, (T, N_v, B)."""
    u: Tensor
    """Activations above, (T, N_u, B)."""
    hebb: Literal["covariance", "correlation"]
    """The form of the Hebbian plane."""
    signed_squares: bool
    """Whether the squared symmetric planes carry the sign of Ŵ."""


@dataclass(frozen=True)
class Plane:
    """A weight-update plane: one term of a layer's weight update."""

    name: str
    """Its name in the settings; θ's merge weights and readouts follow the order of `PLANES`."""
    readout: Readout | None
    """The low-rank product that it reads; None if it reads no hidden state."""
    printed: bool
    """Whether it is in appendix G; the others are only in the released code."""
    compute: Callable[..., Tensor]
    """Computes the plane from `Signals` and, if it has a readout, its low-rank product."""

    def __call__(self, signals: Signals, low_rank: Tensor | None) -> Tensor:
        """The plane, (T, N_v, N_u), of its low-rank product if it has a readout."""
        return self.compute(signals, *(() if self.readout is None else (low_rank,)))


PLANES: dict[str, Plane] = {}
"""Every plane by name, in the order of θ."""

Computation = Callable[..., Tensor]


def plane(
    readout: Readout | None = None, printed: bool = True
) -> Callable[[Computation], Computation]:
    """Decorator that declares a function as the plane of the same name."""

    def declare(function: Computation) -> Computation:
        PLANES[function.__name__] = Plane(function.__name__, readout, printed, function)
        return function

    return declare


def planes_with(readout: Readout) -> tuple[str, ...]:
    """Names of the planes with a given readout, in the order of θ."""
    return tuple(name for name, plane in PLANES.items() if plane.readout == readout)


def scale_receptive_fields(weight: Tensor) -> Tensor:
    """Ŵ (T, N_v, N_u): weights divided by the root mean square into each unit (App. 43)."""
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
    """√(1 + Ŵ²) - 1 (App. 53): quadratic in small weights, linear in large ones."""
    return (1 + w.square()).sqrt() - 1


@plane()
def w_base(s: Signals) -> Tensor:
    """Weight decay: Ŵ (App. 44)."""
    return s.w


@plane()
def large_decay(s: Signals) -> Tensor:
    """Decay of large weights: Ŵ² with the sign of Ŵ (App. 45)."""
    return s.w * s.w.abs()


@plane("between")
def zero_order(_: Signals, low_rank: Tensor) -> Tensor:
    """A learned Hebbian term independent of the weight: M = lowRR(h_v, h_u) (App. 46)."""
    return low_rank


@plane("between")
def rbf(s: Signals, low_rank: Tensor) -> Tensor:
    """A learned Hebbian term for weights near zero: exp(-Ŵ²) ⊙ M (App. 47)."""
    return torch.exp(-s.w.square()) * low_rank


@plane("between")
def first_order(s: Signals, low_rank: Tensor) -> Tensor:
    """A learned Hebbian term proportional to the weight: Ŵ ⊙ M (App. 48)."""
    return s.w * low_rank


@plane()
def hebb(s: Signals) -> Tensor:
    """Hebb's rule: the covariance of v and u over the examples (App. 49).

    In the released form, minus their correlation.
    """
    examples = s.v.shape[-1]
    if s.hebb == "correlation":
        return -(standardise(s.v) @ standardise(s.u).mT) / examples
    v = s.v - s.v.mean(-1, keepdim=True)
    u = s.u - s.u.mean(-1, keepdim=True)
    return v @ u.mT / examples


@plane("lower")
def lin_lower_sym(s: Signals, low_rank: Tensor) -> Tensor:
    """Decorrelation of units below: their weights mixed by a learned similarity, S Ŵ (App. 50-51).

    S is the symmetric part of lowRR(h_v, h_v), zero on the diagonal.
    """
    return low_rank @ s.w


@plane("lower")
def sqr_lower_sym(s: Signals, low_rank: Tensor) -> Tensor:
    """`lin_lower_sym` with soft-squared weights: S (√(1 + Ŵ²) - 1) (App. 52-53)."""
    mixed = low_rank @ soft_square(s.w)
    return mixed * s.w.sign() if s.signed_squares else mixed


@plane("upper")
def lin_upper_sym(s: Signals, low_rank: Tensor) -> Tensor:
    """Decorrelation of units above: receptive fields mixed by a learned similarity (App. 54-55).

    Ŵ S, where S is the symmetric part of lowRR(h_u, h_u), zero on the diagonal.
    """
    return s.w @ low_rank


@plane("upper")
def sqr_upper_sym(s: Signals, low_rank: Tensor) -> Tensor:
    """`lin_upper_sym` with soft-squared weights: (√(1 + Ŵ²) - 1) S (App. 56-57)."""
    mixed = soft_square(s.w) @ low_rank
    return mixed * s.w.sign() if s.signed_squares else mixed


@plane("semidefinite", printed=False)
def lin_upper_psd(s: Signals, low_rank: Tensor) -> Tensor:
    """Receptive fields mixed by a positive semidefinite similarity, Ŵ R Rᵀ (released code)."""
    return s.w @ low_rank


@plane(printed=False)
def decorr_x(s: Signals) -> Tensor:
    """Decorrelation of units above: Ŵ corr(u), scaled to mean square 1 (released code)."""
    u = standardise(s.u)
    units, examples = u.shape[-2:]
    product = s.w @ (u @ u.mT) / (examples * math.sqrt(units))
    return product * torch.rsqrt((product.square() + 1e-8).mean((-2, -1), keepdim=True))
