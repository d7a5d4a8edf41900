"""Postsynaptic signals: what a unit may correlate its inputs with, the summands of `HebbianRule`.

A signal is a function of what a unit knows, and has the shape of an activity, (T, B, N).

Shapes: T tasks, B examples, N units of the layer.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-4
"""Added to mean squares that activities and weights are divided by."""
SHARPNESS = 2.0
"""Of the softmax of `competition`, in standard deviations of a unit's input."""
RIVALRY = 6.0
"""Of that of `rivalry`."""
CLOSENESS = 8.0
"""Of the softmax of `neighbours`, per unit of the cosine of two examples."""


class Unit(NamedTuple):
    """What the units of one layer know."""

    x: Tensor
    """Activity, (T, B, N)."""
    z: Tensor
    """Input of the nonlinearity, (T, B, N)."""
    feedback: Tensor
    """What the next layer sends back through its weights, (T, B, N); zero for the last layer."""
    below: Tensor
    """Activity of the layer below, centred over the examples, (T, B, N_v)."""


def standardised(activity: Tensor) -> Tensor:
    """Activity (T, B, N), centred and scaled to mean square 1 over the examples."""
    c = activity - activity.mean(-2, keepdim=True)
    return c * torch.rsqrt(c.square().mean(-2, keepdim=True) + EPS)


def activity(unit: Unit) -> Tensor:
    """Fire together, wire together: the unit's own activity (Hebb 1949)."""
    return unit.x


def threshold(unit: Unit) -> Tensor:
    """Depression below a sliding threshold, potentiation above: x (x - ⟨x²⟩).

    Bienenstock, Cooper and Munro 1982; the threshold is that of Intrator and Cooper 1992.
    """
    return unit.x * (unit.x - unit.x.square().mean(-2, keepdim=True))


def competition(unit: Unit) -> Tensor:
    """The units compete for every example: a softmax over them.

    A soft winner-take-all, as in clustering (Moraitis et al. 2022).
    """
    return torch.softmax(SHARPNESS * standardised(unit.z), dim=-1) * unit.z.shape[-1]


def rivalry(unit: Unit) -> Tensor:
    """As `competition`, but nearly winner-take-all."""
    return torch.softmax(RIVALRY * standardised(unit.z), dim=-1) * unit.z.shape[-1]


def response(unit: Unit) -> Tensor:
    """The unit's input: a linear unit learns principal components so (Oja 1982)."""
    return unit.z


def neighbours(unit: Unit) -> Tensor:
    """Inputs of the unit for similar examples, of which none is the example itself.

    Units that follow it change slowly from an example to its neighbours, as spectral embeddings do
    (after the trace rule of Földiák 1991, with neighbours in place of moments).
    """
    close = torch.nn.functional.normalize(unit.below, dim=-1)
    similarity = CLOSENESS * close @ close.mT
    itself = torch.eye(similarity.shape[-1], dtype=torch.bool, device=similarity.device)
    return torch.softmax(similarity.masked_fill(itself, -torch.inf), dim=-1) @ standardised(unit.z)


def cube(unit: Unit) -> Tensor:
    """Rare, large responses of either sign: z³ (independent components; Hyvärinen and Oja 1997)."""
    return standardised(unit.z) ** 3


def energy(unit: Unit) -> Tensor:
    """Large responses without their sign: z²."""
    return standardised(unit.z) ** 2


def feedback(unit: Unit) -> Tensor:
    """The next layer teaches this one."""
    return unit.feedback


SIGNALS: dict[str, Callable[[Unit], Tensor]] = {
    signal.__name__: signal
    for signal in (
        activity,
        threshold,
        competition,
        cube,
        energy,
        feedback,
        rivalry,
        response,
        neighbours,
    )
}
"""The signals by name."""
