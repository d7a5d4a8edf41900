"""Figures 3 and 4 right: accuracy along meta-training, of θ that a run kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from lit_lul.report.stored_rows import Row
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.pictures import draw_line
from studies.figures.context import Context
from studies.figures.panel import (
    Check,
    Difference,
    Measurement,
    Panel,
    difference,
    every,
    percent,
)


@dataclass(frozen=True)
class MetaTrainingSettings:
    """Datasets that are measured along meta-training."""

    seen: list[str] = field(default_factory=lambda: ["glyphs_seen"])
    """Datasets of classes that meta-training sees."""
    held_out: list[str] = field(default_factory=lambda: ["glyphs", "digits"])
    """Held-out images."""
    text: str = "imdb"
    """Held-out texts."""


class MetaTraining(Panel[Row]):
    """Accuracy against outer steps and hours, and of early and late θ on texts."""

    name, figure, title = "meta_training", ("3", "4"), "Figures 3 and 4 right: along meta-training"
    kind = Row
    paper = (
        "Over some 200 hours, accuracy on training tasks and on held-out images improves to the "
        "end. On texts (IMDB) θ after 30 hours is almost 10 points above random initialisation; "
        "θ after 200 hours is poor: meta-training overfits to images."
    )

    def __init__(self, settings: MetaTrainingSettings, context: Context) -> None:
        self._settings, self._context = settings, context

    @property
    def _datasets(self) -> list[str]:
        return [*self._settings.seen, *self._settings.held_out, self._settings.text]

    def measurements(self) -> list[Measurement[Row]]:
        """A dataset and a θ each.

        Raises:
            InvalidInput: without a run.
        """
        if self._context.no_run is not None:
            raise InvalidInput(self._context.no_run)
        learners = {0: self._context.thetas[0].untrained()}
        learners |= {theta.outer_step: theta.learner for theta in self._context.thetas}
        return [
            self._context.curve(f"{name}, {step}", name, self._context.entry(name), learner)
            for name in self._datasets
            for step, learner in learners.items()
        ]

    def protocol(self) -> str:
        """Run, steps and draws."""
        entry, last = self._context.entry(self._datasets[0]), self._context.thetas[-1]
        return (
            f"running means of θ kept by one run of {last.outer_step} outer steps in "
            f"{last.hours:.2f} hours (`{self._context.run}`; how to make it is in the "
            f"configuration), at 0 untrained; {entry.inner_steps} inner steps, `{entry.networks}`, "
            f"minibatches of {entry.batch_size}, {entry.draws} draws, {entry.protocol}. Seen: "
            f"{', '.join(self._settings.seen)}, other examples of classes in meta-training."
        )

    def draw(self, rows: Mapping[str, Row]) -> Figure:
        """Left accuracy against outer steps, right that of texts against inner steps."""
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for i, dataset in enumerate(self._datasets):
            of_steps = self._of(dataset, rows)
            curves = {step: row.curve("ridge") for step, row in of_steps.items()}
            style = "o--" if dataset in self._settings.seen else "o-"
            left.errorbar(
                [self._place(step) for step in curves],
                [curve.mean[-1] for curve in curves.values()],
                [curve.standard_error[-1] for curve in curves.values()],
                fmt=style,
                color=f"C{i}",
                label=f"{dataset} (seen)" if dataset in self._settings.seen else dataset,
            )
        self._label(left)
        of_text = self._of(self._settings.text, rows)
        for i, (step, row) in enumerate(of_text.items()):
            colour = (0.2, 0.1 + 0.8 * i / len(of_text), 0.5)
            draw_line(right, row.curve("ridge"), colour, "-", f"outer step {step}")
        right.set(title=self._settings.text, xlabel="inner steps", ylabel="few-shot accuracy")
        right.grid(alpha=0.3)
        right.legend(fontsize="small")
        return figure

    def _label(self, axes: Axes) -> None:
        thetas = self._context.thetas
        axes.set(xscale="log", xlabel="outer steps (first: untrained)", ylabel="few-shot accuracy")
        steps = [0, *(theta.outer_step for theta in thetas)]
        axes.set_xticks([self._place(step) for step in steps], [str(step) for step in steps])
        axes.minorticks_off()
        hours = axes.secondary_xaxis("top")
        hours.set_xticks(
            [theta.outer_step for theta in thetas], [f"{theta.hours:.2f}" for theta in thetas]
        )
        hours.minorticks_off()
        hours.set_xlabel("hours of meta-training")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")

    def _place(self, step: int) -> float:
        """Where a step is on the axis; 0 is below the first one."""
        return step or self._context.thetas[0].outer_step / 2

    def _of(self, dataset: str, rows: Mapping[str, Row]) -> dict[int, Row]:
        steps = [0, *(theta.outer_step for theta in self._context.thetas)]
        return {s: rows[name] for s in steps if (name := f"{dataset}, {s}") in rows}

    def shows(self, rows: Mapping[str, Row]) -> str:
        """Accuracy of the untrained rule, and of the first and the last θ."""
        return " ".join(
            f"{dataset}: {', '.join(f'{percent(r)} at {s}' for s, r in _ends(of_steps).items())}."
            for dataset in self._datasets
            if (of_steps := self._of(dataset, rows))
        )

    def checks(self, rows: Mapping[str, Row]) -> list[Check]:
        """Images improve to the end; texts improve and then overfit."""
        checks = []
        for claim, datasets in (
            ("seen classes improve until the last θ", self._settings.seen),
            ("held-out images improve until the last θ", self._settings.held_out),
        ):
            gaps: dict[str, Difference] = {}
            for dataset in datasets:
                of_steps = self._of(dataset, rows)
                gaps |= {
                    f"{dataset}, {two} above {one}": difference(of_steps[two], of_steps[one])
                    for one, two in [*pairwise(of_steps)][-1:]
                }
            if gaps:
                checks.append(every(claim, gaps))
        if len(of_text := self._of(self._settings.text, rows)) > 2:
            trained = {step: row for step, row in of_text.items() if step > 0}
            best = max(trained, key=lambda step: trained[step].curve("ridge").mean[-1])
            last = max(trained)
            row = trained[best]
            above = {f"outer step {best}, the best": difference(row, row.at_start())}
            checks.append(every("some θ is above random initialisation on texts", above))
            below = {f"outer step {best} above {last}": difference(row, trained[last])}
            checks.append(every("the last θ is worse on texts than an earlier one", below))
        return checks


def _ends(of_steps: Mapping[int, Row]) -> dict[int, Row]:
    """Rows of the untrained rule, and of the first and the last θ."""
    kept = [*of_steps][:2] + [*of_steps][-1:]
    return {step: of_steps[step] for step in kept}


def panels(settings: MetaTrainingSettings, context: Context) -> Sequence[Panel[Row]]:
    """The panel."""
    return [MetaTraining(settings, context)]
