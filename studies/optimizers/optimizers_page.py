"""The page of learned optimizers beside tuned ones: a picture, a table and what holds."""

from collections.abc import Mapping
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import t

from lit_lul.files.atomic import replace_file
from studies.optimizers.optimizer_curves import BASELINES, LEARNED, Measured

COLUMNS_OF_PLOTS = 4
ABOUT = """# Learned optimizers, beside tuned ones

```sh
{command}
```

The experiments of Andrychowicz et al. 2016 (arXiv:1606.04474) on quadratics and MNIST. A learned
optimizer was meta-trained on the first problem of its kind ({learners}); the others show what it
does elsewhere. Each baseline takes the one of {rates} rates whose mean loss after the last step is
lowest on other draws; the learned optimizer has nothing to tune. All start from the same networks
and see the same minibatches. The loss is that of fresh rows, or on quadratics that of the function
itself, over its number of dimensions.

![Loss against steps, a plot for each problem]({folder}/curves.png)

*Mean over the draws, in bands of a standard error.*

Mean loss after the last step, with its standard error, and in brackets the rate. *Edge* marks a
rate at the end of the list. The last column is the share of draws on which the learned optimizer
is below the baseline of lowest mean."""


def write_page(
    command: str, every: Mapping[str, Measured], missing: Mapping[str, str], out: Path
) -> None:
    """Write the page, and its picture beside it.

    Args:
        command: what the page is made by.
        every: problems by name; those that are not complete are left out.
        missing: why others are left out, by name.
        out: the page.
    """
    complete = {name: one for name, one in every.items() if not one.missing()}
    rows = {name: _values(one) for name, one in complete.items()}
    folder = out.with_suffix("")
    if rows:
        with replace_file(folder / "curves.png") as temporary:
            draw(rows).savefig(temporary, format="png", dpi=110)
    learners = {one.problem.learner for one in complete.values()}
    about = ABOUT.format(
        command=command,
        learners=", ".join(f"`{Path(name).stem}`" for name in sorted(learners)),
        rates=max((len(one.rates) for one in complete.values()), default=0),
        folder=folder.name,
    )
    header = ["problem", "steps", "draws", LEARNED, *BASELINES, "below the best"]
    lines = [header, ["---"] * len(header)]
    lines += [_line(name, complete[name], values) for name, values in rows.items()]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    found = [_verdict(name, complete[name], values) for name, values in rows.items()]
    left_out = [f"{name} is left out: {reason}." for name, reason in missing.items()]
    verdicts = "By paired differences of the last losses, with 95% intervals:\n\n"
    parts = [about, table, verdicts + "\n".join(found), *left_out]
    with replace_file(out) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def draw(rows: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Loss against steps, a plot for each problem and a line for each optimizer."""
    columns = min(COLUMNS_OF_PLOTS, len(rows))
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(1 + 3.2 * columns, 1 + 2.6 * lines), layout="constrained")
    plots = figure.subplots(lines, columns, squeeze=False).flatten()
    for plot, (name, of_problem) in zip(plots, rows.items(), strict=False):
        for optimizer, values in of_problem.items():
            mean, error = np.array(values["mean"]), np.array(values["standard_error"])
            bold = {"color": "black", "linewidth": 2} if optimizer == LEARNED else {"alpha": 0.9}
            (line,) = plot.plot(mean, label=optimizer, **bold)
            steps = np.arange(len(mean))
            low = np.maximum(mean - error, mean / 2)  # a logarithmic axis ends above 0
            plot.fill_between(steps, low, mean + error, color=line.get_color(), alpha=0.2, lw=0)
        start, lowest = of_problem[LEARNED]["mean"][0], min(map(_lowest, of_problem.values()))
        plot.set(title=name, yscale="log", ylim=(lowest / 1.3, start * 1.3))
        plot.grid(alpha=0.3)
    for plot in plots[len(rows) :]:
        plot.axis("off")
    handles, labels = plots[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 2 * columns))
    figure.supxlabel("steps")
    figure.supylabel("loss")
    return figure


def _values(measured: Measured) -> dict[str, Any]:
    """Values of the rows by optimizer, the learned one first."""
    rows = measured.rows()
    return {name: rows[name].values for name in (LEARNED, *BASELINES)}


def _lowest(values: Mapping[str, Any]) -> float:
    """The lowest mean loss of a curve."""
    return min(float(value) for value in values["mean"] if isfinite(value))


def _line(name: str, measured: Measured, values: Mapping[str, Any]) -> list[str]:
    """A line of the table."""
    cells = [name, str(measured.problem.steps), str(measured.problem.draws)]
    for of_optimizer in values.values():
        mean, error = of_optimizer["mean"][-1], of_optimizer["standard_error"][-1]
        cell = f"{mean:.3g} ± {error:.1g}" if isfinite(mean) else "diverges"
        cells.append(cell + _rate(of_optimizer))
    best = min(BASELINES, key=lambda other: _finite(values[other]["mean"][-1]))
    own, other = (np.array(values[n]["last"]) for n in (LEARNED, best))
    return [*cells, f"{(own < other).mean():.0%} ({best})"]


def _finite(value: float) -> float:
    return value if isfinite(value) else float("inf")


def _rate(values: Mapping[str, Any]) -> str:
    """The chosen rate in brackets; nothing for the learned optimizer."""
    if "tuning" not in values:
        return ""
    place = int(np.argmin(values["tuning"]))
    edge = ", edge" * (place in (0, len(values["rates"]) - 1))
    return f" ({values['rates'][place]:g}{edge})"


def _verdict(name: str, measured: Measured, values: Mapping[str, Any]) -> str:
    """Which baselines the learned optimizer is below or above, and whether the claim holds."""
    signs = {other: _compare(values[LEARNED], values[other]) for other in BASELINES}
    parts = [
        f"{word} {', '.join(others)}"
        for word, sign in (("below", -1), ("not clearly apart from", 0), ("above", 1))
        if (others := [other for other, found in signs.items() if found == sign])
    ]
    text = f"- **{name}**: learned is {'; '.join(parts)}."
    if (claim := measured.problem.claim) is None:
        return text
    held = max(signs.values()) == -1 if claim == "best" else max(signs.values()) == 1
    said = {"best": "below all of them", "fails": "that it fails here"}[claim]
    return f"{text} The paper's claim, {said}: {'held' if held else 'not held'}."


def _compare(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    """-1 if one's losses are below the other's, 1 if they are above, 0 if that is not clear."""
    if not (isfinite(one["mean"][-1]) and isfinite(other["mean"][-1])):
        return isfinite(other["mean"][-1]) - isfinite(one["mean"][-1])
    difference = np.array(one["last"]) - np.array(other["last"])
    n = len(difference)
    half = t.ppf(0.975, n - 1) * difference.std(ddof=1) / sqrt(n)
    mean = difference.mean()
    return int(np.sign(mean)) if abs(mean) > half else 0
