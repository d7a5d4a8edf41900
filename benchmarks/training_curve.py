"""Draw the meta-training of runs: `metrics.csv` to `curve.png` in the same folder.

    python benchmarks/training_curve.py docs/runs/*

Few-shot accuracy of every task family against outer steps: in training (cohorts of all ages, a
running mean), and on held-out characters and classes (dots).
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lit_lul.files.atomic import replace_file

PREFIXES = {"train/accuracy/": ("-", "", 1.0), "val/accuracy/": ("o--", ", held out", 0.8)}
WINDOW = 100
"""Outer steps of a running mean."""


def read_series(log: Path) -> dict[str, np.ndarray]:
    """Outer steps and values, (2, rows), of every column that is not empty."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        name: np.array([(float(r["step"]), float(r[name])) for r in rows if r[name]]).T
        for name in rows[0]
        if name != "step" and any(r[name] for r in rows)
    }


def smooth(series: np.ndarray) -> np.ndarray:
    """The running mean over `WINDOW` outer steps, of rows in which the family had tasks."""
    step, value = series[:, series[1] > 0]
    means = [value[(step > last - WINDOW) & (step <= last)].mean() for last in step]
    return np.stack([step, np.array(means)])


def draw(series: dict[str, np.ndarray], title: str) -> Figure:
    """The figure, with a colour per family."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    families = sorted({n.rsplit("/", 1)[1] for n in series if n.startswith(tuple(PREFIXES))})
    families.remove("families")
    for colour, family in enumerate(families):
        for prefix, (style, suffix, alpha) in PREFIXES.items():
            found = series.get(prefix + family)
            if found is not None:
                step, value = smooth(found) if prefix.startswith("train") else found
                axes.plot(
                    step, value, style, color=f"C{colour}", alpha=alpha, label=family + suffix
                )
    axes.set(title=title, xlabel="outer steps", ylabel="few-shot accuracy")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def main() -> None:
    """Draw the curve of every folder."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folders", type=Path, nargs="+")
    for folder in arguments.parse_args().folders:
        if (folder / "metrics.csv").exists():
            with replace_file(folder / "curve.png") as temporary:
                figure = draw(read_series(folder / "metrics.csv"), folder.name)
                figure.savefig(temporary, format="png", dpi=110)


if __name__ == "__main__":
    main()
