"""Output of held-out curves: CSV, JSON and a printed summary."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.atomic import replace_file

Curves = Mapping[str, Curve]
"""Curves by probe."""

COLUMNS = ["outer_step", "probe", "protocol", "inner_step", "accuracy", "standard_error"]


def write_csv(
    path: Path, held_out: HeldOut, untrained: Curves, by_outer_step: Mapping[int, Curves]
) -> None:
    """Write all curves, a line per probe and probed step, the untrained learner first.

    Raises:
        InvalidInput: when the file cannot be written.
    """
    with replace_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(curve_rows(held_out, untrained, by_outer_step))


def curve_rows(
    held_out: HeldOut, untrained: Curves, by_outer_step: Mapping[int, Curves]
) -> list[list[Any]]:
    """Rows of `COLUMNS`, one per probe and probed step, the untrained learner first."""
    every = [("untrained", untrained), *((str(s), c) for s, c in sorted(by_outer_step.items()))]
    return [
        [outer_step, probe, held_out.protocol, *row]
        for outer_step, curves in every
        for probe, curve in curves.items()
        for row in zip(curve.steps, curve.mean, curve.standard_error, strict=True)
    ]


def write_json(
    path: Path, held_out: HeldOut, untrained: Curves, by_outer_step: Mapping[int, Curves]
) -> None:
    """Write the latest curves and those of the untrained learner.

    Raises:
        InvalidInput: when the file cannot be written.
    """
    last = max(by_outer_step)
    numbers = {
        "protocol": held_out.protocol,
        "draws": held_out.draws,
        "labels_per_class": held_out.labels_per_class,
        "outer_step": last,
        "trained": {probe: vars(curve) for probe, curve in by_outer_step[last].items()},
        "untrained": {probe: vars(curve) for probe, curve in untrained.items()},
    }
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(numbers, indent=1))


def summarise(name: str, held_out: HeldOut, untrained: Curves, trained: Curves) -> str:
    """A printable summary of the curves of an untrained and a trained learner."""
    lines = [
        f"Held-out {name}, {held_out.protocol}, {held_out.labels_per_class} labels per class, "
        f"{held_out.draws} draws:"
    ]
    for probe, curve in trained.items():
        rows = {
            "before the inner loop": (curve, 0),
            f"after {curve.steps[-1]} inner steps": (curve, -1),
            "initial θ": (untrained[probe], -1),
        }
        lines += [
            f"  {row:<24}{c.mean[i]:.1%} ± {c.standard_error[i]:.1%}  {probe}"
            for row, (c, i) in rows.items()
        ]
    return "\n".join(lines)
