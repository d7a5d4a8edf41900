"""Figures 3 and 4 right: accuracy along meta-training, of θ that a run kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lit_lul.errors import InvalidInput
from lit_lul.report.rules import untrained
from lit_lul.report.rows import Row
from lit_lul.evaluation.pictures import draw_line
from studies.figures.measurements import Context
from studies.figures.panel import Check, Difference, Measurement, Panel, difference, every


@dataclass(frozen=True)
class MetaTraining(Panel[Row]):
    """Accuracy against outer steps and hours, and of early and late θ on texts."""

    name: ClassVar = "meta_training"
    figures: ClassVar = ("3", "4")
    title: ClassVar = "Figures 3 and 4 right: along meta-training"
    kind: ClassVar = Row
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
        learners = {0: untrained(context.thetas[0].learner)}
        learners |= {theta.outer_step: theta.learner for theta in context.thetas}
        return [
            context.curve(f"{name}, {step}", name, context.entry(name), learner)
            for name in (*self.seen, *self.held_out, self.text)
            for step, learner in learners.items()
        ]

    def protocol(self, context: Context) -> str:
        """Run, steps and draws."""
        entry, last = context.entry(self.text), context.thetas[-1]
        return (
            f"running means of θ kept by one run of {last.outer_step} outer steps in "
            f"{last.hours:.2f} hours (`{context.run}`; how to make it is in the configuration), "
            f"at 0 the initial θ; {entry.inner_steps} inner steps, `{entry.networks}`, minibatches "
            f"of {entry.batch_size}, {entry.draws} draws, {entry.protocol}. Seen: "
            f"{', '.join(self.seen)}, other examples of classes in meta-training."
        )

    def draw(self, context: Context, rows: Mapping[str, Row]) -> Figure:
        """Left accuracy against outer steps, right that of texts against inner steps."""
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        before_first = context.thetas[0].outer_step / 2  # where 0 is on the logarithmic axis
        for dataset in (*self.seen, *self.held_out, self.text):
            curves = {s: row.curve("ridge") for s, row in along(dataset, context, rows).items()}
            left.errorbar(
                [step or before_first for step in curves],
                [curve.mean[-1] for curve in curves.values()],
                [curve.standard_error[-1] for curve in curves.values()],
                fmt="o--" if dataset in self.seen else "o-",
                label=f"{dataset} (seen)" if dataset in self.seen else dataset,
            )
        _label(left, context, before_first)
        of_text = along(self.text, context, rows)
        for i, (step, row) in enumerate(of_text.items()):
            colour = colormaps["viridis"](i / len(of_text))
            draw_line(right, row.curve("ridge"), colour, "-", f"outer step {step}")
        right.set(title=self.text, xlabel="inner steps", ylabel="few-shot accuracy")
        right.grid(alpha=0.3)
        right.legend(fontsize="small")
        return figure

    def checks(self, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """Images improve to the end; texts improve and then overfit."""
        checks = []
        kinds = {"seen classes": self.seen, "held-out images": self.held_out}
        for kind, datasets in kinds.items():
            gaps: dict[str, Difference] = {}
            for dataset in datasets:
                of_steps = along(dataset, context, rows)
                for one, two in [*pairwise(of_steps)][-1:]:
                    name = f"{dataset}, {two} above {one}"
                    gaps[name] = difference(of_steps[two], of_steps[one])
            checks += every(f"{kind} improve until the last θ", gaps)
        of_text = along(self.text, context, rows)
        trained = {step: row for step, row in of_text.items() if step > 0}
        if len(trained) > 1:
            best = max(trained, key=lambda step: trained[step].curve("ridge").mean[-1])
            row, last = trained[best], max(trained)
            above = {f"outer step {best}, the best": difference(row, row.at_start())}
            checks += every(f"some θ is above its {RANDOM} on texts", above)
            below = {f"outer step {best} above {last}": difference(row, trained[last])}
            checks += every("the last θ is worse on texts than an earlier one", below)
        return checks


def along(dataset: str, context: Context, rows: Mapping[str, Row]) -> dict[int, Row]:
    """Rows of a dataset by outer step, at 0 that of the initial θ."""
    steps = [0, *(theta.outer_step for theta in context.thetas)]
    return {step: rows[name] for step in steps if (name := f"{dataset}, {step}") in rows}


def _label(axes: Axes, context: Context, before_first: float) -> None:
    """Outer steps below the axes and hours above."""
    steps = [theta.outer_step for theta in context.thetas]
    axes.set(xscale="log", xlabel="outer steps (0: initial θ)", ylabel="few-shot accuracy")
    axes.set_xticks([before_first, *steps], [str(step) for step in (0, *steps)])
    axes.minorticks_off()
    hours = axes.secondary_xaxis("top")
    hours.set_xticks(steps, [f"{theta.hours:.2f}" for theta in context.thetas])
    hours.minorticks_off()
    hours.set_xlabel("hours of meta-training")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
