"""Panels of figures: settings that know what is measured, and how it is drawn and checked."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lit_lul.evaluation.curve import Curve
from lit_lul.report.page import Block, Check, Difference, Picture, every
from lit_lul.report.rows import R, Row
from lit_lul.report.study import Measurement, Part
from studies.figures.measurements import Context

RANDOM = "random network"
"""The network before the inner loop."""
POINTS = 2.0


@dataclass(frozen=True)
class Panel(ABC, Generic[R]):
    """A panel of a figure; its fields are its settings.

    Attributes:
        name: of its files.
        figures: figures of the paper that it belongs to, by number.
        title: heading on the page.
        kind: class of its rows.
        paper: what the paper reported.
    """

    name: ClassVar[str]
    figures: ClassVar[tuple[str, ...]]
    title: ClassVar[str]
    kind: ClassVar[type[Any]] = Row
    paper: ClassVar[str]

    @abstractmethod
    def measurements(self, context: Context) -> Sequence[Measurement[R]]:
        """Everything that is measured, in order.

        Raises:
            InvalidInput: when that is not known, such as without θ.
        """

    @abstractmethod
    def protocol(self, context: Context) -> str:
        """How it is measured, in a few sentences."""

    @abstractmethod
    def draw(self, context: Context, rows: Mapping[str, R]) -> Figure:
        """The picture of what has been measured, one row or more."""

    @abstractmethod
    def checks(self, context: Context, rows: Mapping[str, R]) -> list[Check]:
        """The checks whose rows have been measured."""


class MeasuredPanel(Part[R]):
    """A panel with rules and data, as a part of the study.

    Args:
        panel: the panel.
        context: the rules and data.
    """

    def __init__(self, panel: Panel[R], context: Context) -> None:
        self.name, self.kind, self.groups = panel.name, panel.kind, panel.figures
        self.title = panel.title
        self._panel: Panel[R] = panel
        self._context = context

    def measurements(self) -> Sequence[Measurement[R]]:
        """Everything that is measured."""
        return self._panel.measurements(self._context)

    def protocol(self) -> str:
        """How it is measured."""
        return self._panel.protocol(self._context)

    def blocks(self, rows: Mapping[str, R]) -> list[Block]:
        """Picture, the paper's claim, checks and protocol."""
        return [
            Picture(self.name, self._panel.draw(self._context, rows), vector=True),
            f"*The paper:* {self._panel.paper}",
            *self._panel.checks(self._context, rows),
            f"*Protocol:* {self.protocol()}",
        ]


def over_draws(values: ArrayLike) -> Difference:
    """Mean and standard error of a difference in every draw, (draws,)."""
    curve = Curve.of((0,), torch.as_tensor(values, dtype=torch.float64)[None])
    return Difference(curve.mean[0], curve.standard_error[0])


def everywhere(claim: str, gaps: Mapping[str, Difference]) -> list[Check]:
    """A check that all differences are positive; none if nothing has been measured."""
    return [every(claim, gaps)] if gaps else []


def within(claim: str, gaps: Mapping[str, Difference], points: float = POINTS) -> list[Check]:
    """A check that all differences are at most so many points in size; none without differences."""
    slack = {name: Difference(points - abs(gap.mean), gap.error) for name, gap in gaps.items()}
    numbers = "; ".join(f"{name} {gap}" for name, gap in gaps.items())
    claim = f"{claim}, to {points:g} points"
    return [Check(claim, numbers, check.held) for check in everywhere(claim, slack)]


def told(values: ArrayLike, digits: int, sign: str = "") -> str:
    """Mean and standard error of values, in so many digits."""
    found = over_draws(np.asarray(values))
    return f"{found.mean:{sign}.{digits}f} ± {found.error:.{digits}f}"


def interval(row: Row | None, probe: str = "ridge") -> tuple[float, float, float]:
    """Mean accuracy at the last step, and the bounds of its standard error; nan without a row."""
    if row is None:
        return (math.nan, math.nan, math.nan)
    curve = row.curve(probe)
    mean, error = curve.mean[-1], curve.standard_error[-1]
    return mean, mean - error, mean + error


def across(points: Mapping[int, Row]) -> Curve:
    """Accuracy at the last step against a number."""
    curves = [row.curve("ridge") for row in points.values()]
    means, errors = ([c.mean[-1] for c in curves], [c.standard_error[-1] for c in curves])
    return Curve(tuple(points), tuple(means), tuple(errors))
