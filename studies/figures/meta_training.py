"""Figures 3 and 4 right: accuracy along meta-training, of θ that a run kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from matplotlib.figure import Figure

from lit_lul.errors import InvalidInput
from lit_lul.report.page import Check, difference
from lit_lul.report.plots import lines
from lit_lul.report.rows import Row
from lit_lul.report.study import Measurement, initial_theta
from studies.checks import everywhere
from studies.figures.measurements import Context
from studies.figures.panel import RANDOM, Panel, across


@dataclass(frozen=True)
class MetaTraining(Panel[Row]):
    """Accuracy against outer steps and hours, and of early and late θ on texts."""

    name: ClassVar = "meta_training"
    figures: ClassVar = ("3", "4")
    title: ClassVar = "Figures 3 and 4 right: along meta-training"
    paper: ClassVar = (
        "Over some 200 hours, accuracy on training tasks and on held-out images improves to the "
        "end. On texts (IMDB) θ after 30 hours is almost 10 points above random initialisation; "
        "θ after 200 hours is poor: meta-training overfits to images."
    )

    seen: list[str] = field(default_factory=lambda: ["glyphs_seen"])
    """Datasets of classes that meta-training sees."""
    held_out: list[str] = field(default_factory=lambda: ["glyphs", "digits"])
    """Held-out images."""
    text: str = "imdb"
    """Held-out texts."""

    def measurements(self, context: Context) -> list[Measurement[Row]]:
        """A dataset and a θ each.

        Raises:
            InvalidInput: without a run.
        """
        if context.no_run is not None:
            raise InvalidInput(context.no_run)
        learners = {0: initial_theta(context.thetas[0].learner)}
        learners |= {theta.outer_step: theta.learner for theta in context.thetas}
        return [
            context.curve(f"{name}, {step}", name, context.entry(name), learner)
            for name in (*self.seen, *self.held_out, self.text)
            for step, learner in learners.items()
        ]

    def protocol(self, context: Context) -> str:
        """Run, steps and draws."""
        last = context.thetas[-1]
        return (
            f"running means of θ kept by one run of {last.outer_step} outer steps in "
            f"{last.hours:.2f} hours (`{context.run}`; how to make it is in the configuration), "
            f"at 0 the initial θ; {context.protocol(self.text)}. Seen: {', '.join(self.seen)}, "
            "other examples of classes in meta-training."
        )

    def draw(self, context: Context, rows: Mapping[str, Row]) -> Figure:
        """Left accuracy against outer steps, right accuracy on texts against inner steps."""
        datasets = (*self.seen, *self.held_out, self.text)
        found = {dataset: along(dataset, context, rows) for dataset in datasets}
        hours = {0: "initial θ"}
        for step, duration, _ in context.thetas:
            hours[step] = f"θ of step {step}, {duration:.2f} h"
        panels = {
            "along meta-training": {name: across(of) for name, of in found.items() if of},
            self.text: {hours[step]: row.curve("ridge") for step, row in found[self.text].items()},
        }
        figure = lines(panels, "", "few-shot accuracy")
        left, right = figure.axes
        left.set_xscale("symlog", linthresh=context.thetas[0].outer_step)
        left.set_xlabel("outer steps")
        right.set_xlabel("inner steps")
        return figure

    def checks(self, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """Images improve to the end; texts improve and then overfit."""
        checks = []
        kinds = {"seen classes": self.seen, "held-out images": self.held_out}
        for kind, datasets in kinds.items():
            gaps = {}
            for dataset in datasets:
                last_two = [*along(dataset, context, rows).items()][-2:]
                if len(last_two) == 2:
                    (one, before), (two, after) = last_two
                    gaps[f"{dataset}, {two} above {one}"] = difference(after, before)
            checks += everywhere(f"{kind} improve until the last θ", gaps)
        of_text = along(self.text, context, rows)
        trained = {step: row for step, row in of_text.items() if step > 0}
        if len(trained) > 1:
            best = max(trained, key=lambda step: trained[step].curve("ridge").mean[-1])
            row, last = trained[best], max(trained)
            above = {f"outer step {best}, the best": difference(row, row.at_start())}
            checks += everywhere(f"some θ is above its {RANDOM} on texts", above)
            below = {f"outer step {best} above {last}": difference(row, trained[last])}
            checks += everywhere("the last θ is worse on texts than an earlier one", below)
        return checks


def along(dataset: str, context: Context, rows: Mapping[str, Row]) -> dict[int, Row]:
    """Rows of a dataset by outer step, at 0 that of the initial θ."""
    steps = [0, *(theta.outer_step for theta in context.thetas)]
    return {step: rows[name] for step in steps if (name := f"{dataset}, {step}") in rows}
