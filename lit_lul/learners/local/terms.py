"""Terms of local plasticity: functions of what the synapses onto a unit see.

A rule sums them by weights of θ: Δw = ⟨v s⟩ - Ŵ C + D, where v is a sum of `input` terms, s of
`signal` terms, C of `lateral` and D of `weight` terms; Ŵ is w scaled to a root mean square of 1
into each unit. Sums come before products, so that ten terms cost about as much as one.

Shapes: T tasks, B examples, N_v units of the layer below, N_u units of the population.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from torch import Tensor

EPS = 1e-4
"""Added to mean squares that activities and weights are divided by."""
FINE = 1e-9
"""Added to mean squares of the inputs of a principal component, which may be small."""
SLOWEST = 1e-6
"""Added to the mean square of a component, relative to that of the inputs, that its change is
divided by."""

Kind: TypeAlias = Literal["input", "signal", "lateral", "weight"]
"""What a term gives: v (T, B, N_v), s (T, B, N_u), C (T, N_u, N_u) or D (T, N_v, N_u)."""


@dataclass
class Synapses:
    """What the synapses from a layer onto a population of units see."""

    below: Tensor
    """Activity of the layer below, (T, B, N_v)."""
    activity: Tensor
    """Activity of the units, (T, B, N_u)."""
    potential: Tensor
    """Input of the units' nonlinearity, (T, B, N_u)."""
    feedback: Tensor | None
    """What the next layer sends back through its weights, (T, B, N_u); None for the last layer."""
    weight: Tensor
    """w, (T, N_v, N_u)."""
    sharpness: Tensor
    """Sharpness of the competition, in standard deviations of the potential, ()."""

    @cached_property
    def centred(self) -> Tensor:
        """The activity below without its mean over the examples."""
        return self.below - self.below.mean(-2, keepdim=True)

    @cached_property
    def variance(self) -> Tensor:
        """The variance of the activity below, (T, 1, N_v)."""
        return self.centred.square().mean(-2, keepdim=True)

    @cached_property
    def standard_potential(self) -> Tensor:
        """The potential, standardised over the examples."""
        return standardised(self.potential)

    @cached_property
    def correlations(self) -> Tensor:
        """Correlations between the units, 0 on the diagonal, (T, N_u, N_u)."""
        u = standardised(self.activity)
        c = u.mT @ u / u.shape[-2]
        return c - torch.diag_embed(torch.diagonal(c, dim1=-2, dim2=-1))


Function: TypeAlias = Callable[[Synapses], Tensor]
TERMS: dict[str, tuple[Kind, Function]] = {}
"""Every term by name, with its kind."""


def term(kind: Kind) -> Callable[[Function], Function]:
    """Decorator that registers a function as the term of its name."""

    def register(function: Function) -> Function:
        TERMS[function.__name__] = kind, function
        return function

    return register


def standardised(activity: Tensor) -> Tensor:
    """Activity (T, B, N), centred and scaled to mean square 1 over the examples."""
    c = activity - activity.mean(-2, keepdim=True)
    return c * torch.rsqrt(c.square().mean(-2, keepdim=True) + EPS)


@term("input")
def relative(synapses: Synapses) -> Tensor:
    """The activity below, centred, with the relative scales of its units."""
    mean = synapses.variance.mean(-1, keepdim=True)
    return synapses.centred * torch.rsqrt(mean + EPS)


@term("input")
def standard(synapses: Synapses) -> Tensor:
    """The activity below, each unit standardised."""
    return synapses.centred * torch.rsqrt(synapses.variance + EPS)


@term("signal")
def hebb(synapses: Synapses) -> Tensor:
    """Fire together, wire together: the unit's own activity (Hebb 1949)."""
    return synapses.activity


@term("signal")
def bcm(synapses: Synapses) -> Tensor:
    """Depression below a sliding threshold, potentiation above: x (x - ⟨x²⟩).

    Bienenstock, Cooper and Munro 1982; the threshold is that of Intrator and Cooper 1992.
    """
    x = synapses.activity
    return x * (x - x.square().mean(-2, keepdim=True))


@term("signal")
def competition(synapses: Synapses) -> Tensor:
    """Soft winner-take-all: a softmax over units for every example (Moraitis et al. 2022)."""
    sharp = synapses.sharpness * synapses.standard_potential
    return torch.softmax(sharp, dim=-1) * sharp.shape[-1]


@term("signal")
def cube(synapses: Synapses) -> Tensor:
    """Rare, large responses of either sign: z³ (independent components; Hyvärinen and Oja 1997)."""
    return synapses.standard_potential.pow(3)


@term("signal")
def energy(synapses: Synapses) -> Tensor:
    """Large responses without their sign: z² (the energy model; Adelson and Bergen 1985)."""
    return synapses.standard_potential.square()


@term("signal")
def feedback(synapses: Synapses) -> Tensor:
    """The next layer teaches this one (Körding and König 2001); nothing teaches the last layer."""
    sent = synapses.feedback
    return torch.zeros_like(synapses.activity) if sent is None else sent


@term("lateral")
def inhibition(synapses: Synapses) -> Tensor:
    """Units that fire together push their receptive fields apart (anti-Hebbian; Földiák 1990)."""
    return synapses.correlations / math.sqrt(max(1, synapses.activity.shape[-1]))


@term("lateral")
def strong_inhibition(synapses: Synapses) -> Tensor:
    """Inhibition between strongly correlated units alone: c |c|."""
    return synapses.correlations * synapses.correlations.abs()


@term("weight")
def decay(synapses: Synapses) -> Tensor:
    """Passive decay: -w (Gerstner and Kistler 2002)."""
    return -synapses.weight


@term("weight")
def strong_decay(synapses: Synapses) -> Tensor:
    """Decay of large weights: -w |w|, a soft bound."""
    return -synapses.weight * synapses.weight.abs()


@term("weight")
def sanger(synapses: Synapses) -> Tensor:
    """Principal components of the activity below, see `towards_components`."""
    return towards_components(synapses.centred, synapses.weight)


def towards_components(v: Tensor, weight: Tensor) -> Tensor:
    """Δw that makes y = v w the principal components of v in their order (Sanger 1989).

    (⟨v y⟩ - Σ w' ⟨y' y⟩) / ⟨y²⟩, summed over the unit and those before it, with v scaled as a whole
    to a mean square norm of 1. The division makes small components as fast as large ones.

    Args:
        v: centred inputs, (T, B, N_v).
        weight: w, (T, N_v, N_u).
    """
    v = v * torch.rsqrt(v.square().sum(-1, keepdim=True).mean(-2, keepdim=True) + FINE)
    y = v @ weight
    together = y.mT @ y / y.shape[-2]
    own = torch.diagonal(together, dim1=-2, dim2=-1).unsqueeze(-2)
    return (v.mT @ y / y.shape[-2] - weight @ together.triu()) / (own + SLOWEST)
