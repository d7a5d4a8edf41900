"""Panels of figures: settings that know what is measured, and how it is drawn and checked."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

from matplotlib.figure import Figure

from lit_lul.evaluation.curve import Curve
from lit_lul.report.page import Block, Check, Picture
from lit_lul.report.rows import R, Row
from lit_lul.report.study import Measurement, Part
from studies.figures.measurements import Context

RANDOM = "random network"
"""The network before the inner loop."""


@dataclass(frozen=True)
class Panel(ABC, Generic[R]):
    """A panel of a figure; its fields are its settings."""

    name: ClassVar[str]
    """Name of its files."""
    figures: ClassVar[tuple[str, ...]]
    """Numbers of the paper's figures that it belongs to."""
    title: ClassVar[str]
    kind: ClassVar[type[Any]] = Row
    paper: ClassVar[str]
    """What the paper reported."""

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
    """A panel with rules and data, as a part of the study."""

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
