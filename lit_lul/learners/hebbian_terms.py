"""Classic local plasticity terms, the summands of `HebbianRule`.

A term is a function of the activities on both sides of a weight and of the weight. It has the
weight's shape (T, N_v, N_u) and is positive where the weight should grow.

Shapes: T tasks, B examples, layer l - 1 of N_v units below (v), layer l of N_u units above (u).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Synapses:
    """The inputs of the terms of one layer: both activities and the weight."""

    v: Tensor
    """Activity below, (T, B, N_v)."""
    u: Tensor
    """Activity above, (T, B, N_u)."""
    w: Tensor
    """The weight, (T, N_v, N_u)."""


def coactivity(v: Tensor, u: Tensor) -> Tensor:
    """⟨v u⟩, the mean product of activities over the examples, (T, N_v, N_u)."""
    return v.mT @ u / v.shape[-2]


def centred(activity: Tensor) -> Tensor:
    """Activity (T, B, N) minus each unit's mean over the examples."""
    return activity - activity.mean(-2, keepdim=True)


def standardised(activity: Tensor) -> Tensor:
    """Activity (T, B, N), centred and scaled to mean square 1 over the examples."""
    c = centred(activity)
    return c * torch.rsqrt(c.square().mean(-2, keepdim=True) + 1e-6)


def hebb(s: Synapses) -> Tensor:
    """Fire together, wire together: ⟨v u⟩ (Hebb 1949)."""
    return coactivity(s.v, s.u)


def covariance(s: Synapses) -> Tensor:
    """Hebb's term of centred activities: ⟨(v - v̄)(u - ū)⟩ (Sejnowski 1977)."""
    return coactivity(centred(s.v), centred(s.u))


def correlation(s: Synapses) -> Tensor:
    """Hebb's term of standardised activities."""
    return coactivity(standardised(s.v), standardised(s.u))


def oja(s: Synapses) -> Tensor:
    """Hebb's term with a decay that bounds the weight: ⟨u (v - u w)⟩ (Oja 1982)."""
    return coactivity(s.v, s.u) - s.w * s.u.square().mean(-2, keepdim=True)


def bcm(s: Synapses) -> Tensor:
    """Depression below, potentiation above a sliding threshold: ⟨v u (u - ⟨u²⟩)⟩.

    Bienenstock, Cooper and Munro 1982; the threshold is that of Intrator and Cooper 1992.
    """
    return coactivity(s.v, s.u * (s.u - s.u.square().mean(-2, keepdim=True)))


def instar(s: Synapses) -> Tensor:
    """The weight follows its input while the unit above is active: ⟨u (v - w)⟩ (Grossberg 1976)."""
    return coactivity(s.v, s.u) - s.w * s.u.mean(-2, keepdim=True)


def outstar(s: Synapses) -> Tensor:
    """The weight follows the unit above while its input is active: ⟨v (u - w)⟩ (Grossberg 1976)."""
    return coactivity(s.v, s.u) - s.w * s.v.mean(-2).unsqueeze(-1)


def decorrelation(s: Synapses) -> Tensor:
    """Anti-Hebbian inhibition: receptive fields of correlated units diverge (after Földiák 1990).

    -Ŵ C, where C is the correlation matrix of the units above with zero diagonal, divided by √N_u,
    and Ŵ the weight scaled to mean square 1 per receptive field.
    """
    u = standardised(s.u)
    c = u.mT @ u / u.shape[-2]
    c = c - torch.diag_embed(torch.diagonal(c, dim1=-2, dim2=-1))
    scaled = s.w * torch.rsqrt(s.w.square().mean(-2, keepdim=True) + 1e-6)
    return -scaled @ c / math.sqrt(u.shape[-1])


def decay(s: Synapses) -> Tensor:
    """The weight shrinks: -w."""
    return -s.w


def large_decay(s: Synapses) -> Tensor:
    """Large weights shrink: -w |w|."""
    return -s.w * s.w.abs()


TERMS: dict[str, Callable[[Synapses], Tensor]] = {
    term.__name__: term
    for term in (
        hebb,
        covariance,
        correlation,
        oja,
        bcm,
        instar,
        outstar,
        decorrelation,
        decay,
        large_decay,
    )
}
"""The terms of the weights by name, in the order of θ."""

BIAS_TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "constant": lambda b, u: torch.ones_like(b),
    "activity": lambda b, u: -u.mean(-2),
    "decay": lambda b, u: -b,
}
"""The terms of the biases (T, N_u), given activities (T, B, N_u), in the order of θ: together they
can keep a unit at a mean activity (homeostasis)."""
