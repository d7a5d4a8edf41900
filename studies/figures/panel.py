"""Panels of figures: measurements that are stored one by one, a picture, checks and words."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple

from matplotlib.figure import Figure

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import Curve
from lit_lul.report.rows import R, Row, RowFile

ERRORS = 2
"""Standard errors by which a difference must exceed zero for a check to hold."""


@dataclass(frozen=True)
class Measurement(Generic[R]):
    """One measurement of a panel.

    Attributes:
        name: its name, unique in the panel.
        key: hash of everything that it depends on, except the dataset's content.
        seconds: about how long it takes on one core, for the time left.
        measure: computes its row; raises `InvalidInput` when its data are missing.
    """

    name: str
    key: str
    seconds: float
    measure: Callable[[], R]


class Check(NamedTuple):
    """Something that the paper says, and whether it holds here."""

    claim: str
    """The claim."""
    held: bool
    """Whether it holds."""
    numbers: str
    """The numbers that decide it, with standard errors."""


class Difference(NamedTuple):
    """Points by which one accuracy exceeds another on the same draws."""

    mean: float
    """Mean over the draws, in percentage points."""
    error: float
    """Its standard error."""

    @property
    def positive(self) -> bool:
        """Whether it exceeds zero by `ERRORS` standard errors."""
        return self.mean > ERRORS * self.error

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ± {self.error:.1f} points"


class Panel(ABC, Generic[R]):
    """A panel of a figure.

    Attributes:
        name: of its files.
        figure: figures of the paper that it belongs to, by number.
        title: heading on the page.
        kind: class of its rows.
        paper: what the paper reported.
    """

    name: ClassVar[str]
    figure: ClassVar[tuple[str, ...]]
    title: ClassVar[str]
    kind: type[R]
    paper: ClassVar[str]

    @abstractmethod
    def measurements(self) -> Sequence[Measurement[R]]:
        """Everything that is measured, in order.

        Raises:
            InvalidInput: when that is not known, such as without θ.
        """

    @abstractmethod
    def protocol(self) -> str:
        """How it is measured, in a few sentences."""

    @abstractmethod
    def draw(self, rows: Mapping[str, R]) -> Figure:
        """The picture of what has been measured, one row or more."""

    @abstractmethod
    def shows(self, rows: Mapping[str, R]) -> str:
        """What it shows, in a sentence or two of its numbers."""

    @abstractmethod
    def checks(self, rows: Mapping[str, R]) -> list[Check]:
        """The checks whose rows have been measured."""

    def measure(self, folder: Path, tell: Callable[[str, float], None]) -> list[str]:
        """Measure what is missing or has another key, and store each row at once.

        Args:
            folder: where the panel's JSON file is.
            tell: called after each with its name and its seconds.

        Returns:
            Why measurements could not be made, each reason once.

        Raises:
            InvalidInput: when the file cannot be read or written.
        """
        file = RowFile(self.name, folder / f"{self.name}.json", self.kind)
        failed: dict[str, None] = {}
        for one in self.measurements():
            if file.has(one.name, one.key):
                continue
            try:
                row = one.measure()
            except InvalidInput as error:
                failed[str(error)] = None
                tell(f"{self.name}: {one.name} left out ({error})", one.seconds)
            else:
                file.keep(one.name, row, self.protocol())
                tell(f"{self.name}: {one.name}", one.seconds)
        return [*failed]

    def rows(self, folder: Path) -> dict[str, R]:
        """Rows by name, of the measurements that are stored with their keys."""
        file = RowFile(self.name, folder / f"{self.name}.json", self.kind)
        return file.current({one.name: one.key for one in self.measurements()})

    def seconds(self, folder: Path | None = None) -> float:
        """About how long the measurements take, of a folder those that are not stored in it."""
        stored = {} if folder is None else self.rows(folder)
        return sum(one.seconds for one in self.measurements() if one.name not in stored)


def difference(one: Row, other: Row, probe: str = "ridge") -> Difference:
    """Points by which a row exceeds another at their last steps, on the same draws."""
    pairs = one.draws(probe)[-1:] - other.draws(probe)[-1:]
    curve = Curve.of((0,), 100 * pairs)
    return Difference(curve.mean[0], curve.standard_error[0])


def every(claim: str, differences: Mapping[str, Difference]) -> Check:
    """A check that holds if all differences are positive; its numbers are the least of them."""
    least = min(differences, key=lambda name: differences[name].mean)
    short = [name for name, found in differences.items() if not found.positive]
    numbers = f"least {differences[least]} ({least})"
    if short and len(differences) > 1:
        numbers += f"; not at {', '.join(short)}"
    return Check(claim, not short, numbers)


def percent(row: Row, probe: str = "ridge", at: int = -1) -> str:
    """Accuracy at a step, with its standard error."""
    curve = row.curve(probe)
    return f"{curve.mean[at]:.1%} ± {curve.standard_error[at]:.1%}"
