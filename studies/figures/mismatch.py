"""Figure 2 left: the objective of a VAE improves while the accuracy of its code does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from lit_lul.report.rows import Row
from lit_lul.evaluation.pictures import draw_line
from studies.figures.measurements import ELBO, Context
from studies.figures.panel import Check, Difference, Measurement, Panel, every
from studies.networks.training import log_spaced
from studies.networks.vae import RATE

VAE = "VAE"


@dataclass(frozen=True)
class Mismatch(Panel[Row]):
    """Bound and accuracy of a VAE against gradient steps."""

    name: ClassVar = "mismatch"
    figures: ClassVar = ("2",)
    title: ClassVar = "Figure 2 left: objective mismatch of a VAE"
    kind: ClassVar = Row
    paper: ClassVar = (
        "While a VAE is trained on CIFAR-10 at 16 × 16, its bound goes on improving, and the "
        "few-shot accuracy of its code, on the training split, decreases sharply."
    )

    dataset: str = "cifar16_train"
    """Name of the dataset."""
    steps: int = 100_000
    """Gradient steps."""

    def measurements(self, context: Context) -> list[Measurement[Row]]:
        """One curve."""
        return [context.vae_curve(VAE, self.dataset, log_spaced(self.steps))]

    def protocol(self, context: Context) -> str:
        """Steps and draws."""
        entry = context.entry(self.dataset)
        return (
            f"{self.dataset}, {self.steps:,} steps of Adam at {RATE:g} on minibatches of "
            f"{entry.batch_size} (the paper: 100,000), {entry.draws} draws, "
            f"{entry.labels_per_class} labels per class, {entry.protocol}; the bound is of "
            f"{entry.statistics_rows:,} training rows."
        )

    def draw(self, context: Context, rows: Mapping[str, Row]) -> Figure:
        """Both curves, with an axis each."""
        figure = Figure(figsize=(6.5, 4), layout="constrained")
        left = figure.subplots()
        labels = ("few-shot accuracy", "evidence lower bound, nats per row")
        sides = zip((left, left.twinx()), ("ridge", ELBO), labels, ("C0", "C1"), strict=True)
        for axes, probe, label, colour in sides:
            draw_line(axes, rows[VAE].curve(probe), colour, "o-")
            axes.tick_params(axis="y", labelcolor=colour)
            axes.set_ylabel(label, color=colour)
        left.set_xscale("symlog", linthresh=10)
        left.set_xlabel("gradient steps")
        left.grid(alpha=0.3)
        return figure

    def checks(self, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """The bound improves after the peak of accuracy; accuracy falls."""
        row = rows[VAE]
        mean = row.curve("ridge").mean
        peak = mean.index(max(mean))
        bound, accuracy = row.draws(ELBO), 100 * row.draws("ridge")
        rise = Difference.over_draws(bound[-1] - bound[peak], "nats")
        fall = Difference.over_draws(accuracy[peak] - accuracy[-1])
        step = f"step {row.steps[peak]:,}"
        return [
            every(
                "the bound improves after the step of the best accuracy",
                {f"last step above {step}": rise},
            ),
            every("accuracy falls from its best to the end", {f"{step} above the last": fall}),
        ]
