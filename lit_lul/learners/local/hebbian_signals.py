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
"""Of the softmax of `competition` unless θ has it, in standard deviations of a unit's input."""


class Unit(NamedTuple):
    """What the units of one layer know."""

    x: Tensor
    """Activity, (T, B, N)."""
    z: Tensor
    """Input of the nonlinearity, (T, B, N)."""
    feedback: Tensor
    """What the next layer sends back through its weights, (T, B, N); zero for the last layer."""
    sharpness: Tensor | float = SHARPNESS
    """Of the competition between the units."""


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
    return torch.softmax(unit.sharpness * standardised(unit.z), dim=-1) * unit.z.shape[-1]


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
    signal.__name__: signal for signal in (activity, threshold, competition, cube, energy, feedback)
}
"""The signals by name, in the order of θ."""
