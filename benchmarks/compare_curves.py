"""Draw the latest held-out curves of several runs in one figure.

    python benchmarks/compare_curves.py quickstart=runs/quickstart/version_0/digits_curve.json \
        hebbian=runs/hebbian/version_0/digits_curve.json --out docs/hebbian.png

Each line is a run's curve after its last outer step; dashed lines are untrained learners. Bands
are ± one standard error.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.pictures import draw_line
from lit_lul.files.atomic import replace_file


def read_curves(path: Path) -> dict[str, Any]:
    """Read the `curve.json` of a run and a held-out dataset.

    Raises:
        InvalidInput: when the file is missing or invalid.
    """
    try:
        numbers: dict[str, Any] = json.loads(path.read_text())
        return numbers | {k: numbers[k]["ridge"] for k in ("trained", "untrained")}
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"{path}: expected a run's curve.json with the probe ridge") from error


def draw(runs: dict[str, Path]) -> Figure:
    """A figure of accuracy by ridge against inner steps, a colour per run."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for colour, (name, path) in enumerate(runs.items()):
        numbers = read_curves(path)
        draw_line(axes, Curve(**numbers["trained"]), f"C{colour}", "-", name)
        draw_line(axes, Curve(**numbers["untrained"]), f"C{colour}", "--", f"{name}, untrained")
    title = f"{numbers['labels_per_class']} labels per class, {numbers['draws']} draws, ridge"
    axes.set(title=title, xlabel="inner steps", ylabel="few-shot accuracy")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main() -> None:
    """Draw the runs of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="NAME=FILE, a name and a run's curve.json")
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    args = parser.parse_args()
    pairs = [run.partition("=") for run in args.runs]
    try:
        figure = draw({name: Path(file) for name, _, file in pairs})
    except InvalidInput as error:
        sys.exit(f"error: {error}")
    with replace_file(args.out) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


if __name__ == "__main__":
    main()
