"""Pages of studies in markdown: tables with methods as rows, checks of claims, pictures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from lit_lul.evaluation.curve import Curve
from lit_lul.files.atomic import replace_file
from lit_lul.report.rows import Row

ERRORS = 2
"""Standard errors by which a difference must be apart from zero to count."""
WORDS = {True: "held", False: "not held", None: "not resolved"}


class Check(NamedTuple):
    """A claim, and whether it holds here."""

    claim: str
    """The claim."""
    numbers: str
    """The numbers that decide it."""
    held: bool | None
    """Whether it holds; None if the numbers do not tell."""


class Difference(NamedTuple):
    """Points by which one accuracy exceeds another on the same draws."""

    mean: float
    """Mean over the draws, in percentage points."""
    error: float
    """Its standard error."""

    @property
    def held(self) -> bool | None:
        """Whether it is positive; None if it is within `ERRORS` standard errors of zero."""
        return None if abs(self.mean) <= ERRORS * self.error else self.mean > 0

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ± {self.error:.1f} points"


def difference(one: Row, other: Row, probe: str = "ridge", at: int = -1) -> Difference:
    """Points by which a row exceeds another at a step, on the same draws."""
    curve = Curve.of((0,), 100 * (one.draws(probe)[at] - other.draws(probe)[at])[None])
    return Difference(curve.mean[0], curve.standard_error[0])


def every(claim: str, differences: Mapping[str, Difference]) -> Check:
    """A check that holds if all differences are positive; its numbers are the least of them."""
    least = min(differences, key=lambda name: differences[name].mean)
    held = [found.held for found in differences.values()]
    short = [name for name, found in differences.items() if not found.held]
    numbers = f"least {differences[least]} ({least})"
    if short and len(differences) > 1:
        numbers += f"; not at {', '.join(short)}"
    return Check(claim, numbers, False if False in held else None if None in held else True)


def percent(row: Row, probe: str = "ridge", at: int = -1) -> str:
    """Accuracy at a step, with its standard error."""
    curve = row.curve(probe)
    return f"{curve.mean[at]:.1%} ± {curve.standard_error[at]:.1%}"


Cell = float | str | None
"""A mean; or text, which is shown as it is; or None for what is not measured."""


@dataclass(frozen=True)
class Table:
    """Methods as rows, with their mean first; the best of each column is bold.

    Standard errors are in the JSON files, so that a table fits on a screen.

    Attributes:
        columns: short names of the columns.
        groups: cells by method, by the name of a group of methods; the name "" has no heading.
        form: the format of a number; accuracies from 0 to 1 are shown as percent by default.
        best: whether high or low numbers are best, "" to mark none.
        mean: whether the mean over the columns is shown, of methods that have all of them.
    """

    columns: Sequence[str]
    groups: Mapping[str, Mapping[str, Sequence[Cell]]]
    form: str = "percent"
    best: str = "high"
    mean: bool = True

    def markdown(self) -> str:
        """The table."""
        groups = {
            group: {name: self._with_mean(cells) for name, cells in methods.items()}
            for group, methods in self.groups.items()
            if methods
        }
        every = [cells for methods in groups.values() for cells in methods.values()]
        best = [self._best(column) for column in zip(*every, strict=True)]
        columns = [*["mean"] * self.mean, *self.columns]
        lines = [["", *columns], ["---", *["---:"] * len(columns)]]
        for group, methods in groups.items():
            if group:
                lines.append([f"*{group}*", *[""] * len(columns)])
            for name, cells in methods.items():
                marked = zip(cells, best, strict=True)
                lines.append([name, *(self._show(cell, cell == top) for cell, top in marked)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def _with_mean(self, cells: Sequence[Cell]) -> list[Cell]:
        numbers = [cell for cell in cells if isinstance(cell, int | float)]
        mean = float(np.mean(numbers)) if numbers and len(numbers) == len(cells) else None
        return [*[mean] * self.mean, *cells]

    def _best(self, column: Sequence[Cell]) -> float | None:
        numbers = [cell for cell in column if isinstance(cell, int | float)]
        if not numbers or not self.best:
            return None
        return max(numbers) if self.best == "high" else min(numbers)

    def _show(self, cell: Cell, best: bool) -> str:
        if cell is None or isinstance(cell, str):
            return cell or ""
        shown = f"{100 * cell:.1f}" if self.form == "percent" else f"{cell:{self.form}}"
        return f"**{shown}**" if best else shown


class Picture(NamedTuple):
    """A figure, written into the folder of the page's name."""

    name: str
    """Stem of its file."""
    figure: Figure
    """The figure."""
    caption: str = ""
    """What it shows, beyond the heading."""
    vector: bool = False
    """Whether it is written as SVG too."""


Block = str | Table | Picture | Check
"""A part of a section; checks that follow each other make a list."""


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: heading.
        finding: what was found, in one sentence.
        command: the command, or several lines of them, that measures everything in it.
        summary: blocks below the finding, such as one picture.
        sections: blocks by heading.
        method: how it was measured; the last section, with the command.
        missing: what is not measured and why, a sentence each; `Study` adds what it knows.
    """

    title: str
    finding: str
    command: str
    summary: Sequence[Block] = ()
    sections: Mapping[str, Sequence[Block]] = field(default_factory=dict)
    method: str = ""
    missing: Sequence[str] = ()

    def write(self, out: Path) -> None:
        """Write the markdown, and the pictures into the folder of the same name.

        Raises:
            InvalidInput: when a file cannot be written.
        """
        folder = out.with_suffix("")
        parts = [f"# {self.title}", self.finding, self._tally(), *_texts(self.summary, folder)]
        for heading, blocks in self.sections.items():
            parts += [f"## {heading}", *_texts(blocks, folder)]
        parts += ["## How it is measured", f"```sh\n{self.command}\n```", self.method]
        parts += self.missing
        with replace_file(out) as temporary:
            temporary.write_text("\n\n".join(part for part in parts if part) + "\n")

    def _tally(self) -> str:
        blocks = [block for section in self.sections.values() for block in section]
        checks = [block for block in [*self.summary, *blocks] if isinstance(block, Check)]
        counts = Counter(WORDS[check.held] for check in checks)
        said = ", ".join(f"{counts[word]} {word}" for word in WORDS.values() if counts[word])
        return f"Claims: {said}." if said else ""


def _texts(blocks: Sequence[Block], folder: Path) -> list[str]:
    """Markdown of blocks; writes the pictures."""
    texts = []
    for kind, alike in groupby(blocks, key=type):
        if kind is Check:
            texts.append("\n".join(_line(block) for block in alike if isinstance(block, Check)))
            continue
        for block in alike:
            if isinstance(block, Picture):
                texts.append(_written(block, folder))
            elif isinstance(block, Table):
                texts.append(block.markdown())
            else:
                texts.append(str(block))
    return texts


def _line(check: Check) -> str:
    return f"- **{WORDS[check.held]}**: {check.claim}: {check.numbers}."


def _written(picture: Picture, folder: Path) -> str:
    for kind, metadata in {"png": None, "svg": {"Date": None}}.items():
        if kind == "png" or picture.vector:
            path = folder / f"{picture.name}.{kind}"
            with rc_context({"svg.hashsalt": picture.name}), replace_file(path) as temporary:
                picture.figure.savefig(temporary, format=kind, dpi=110, metadata=metadata)
    caption = f"\n\n*{picture.caption}*" if picture.caption else ""
    return f"![{picture.caption or picture.name}]({folder.name}/{picture.name}.png){caption}"
