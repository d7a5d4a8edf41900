"""Figure 2 left: the objective of a VAE improves while the accuracy of its code does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from lit_lul.report.page import Check
from lit_lul.report.plots import lines
from lit_lul.report.rows import Row
from lit_lul.report.study import Measurement
from studies.checks import everywhere, over_draws
from studies.figures.measurements import Context
from studies.figures.panel import Panel
from studies.networks.training import log_spaced
from studies.networks.vae import BOUND, RATE

VAE = "VAE"


@dataclass(frozen=True)
class Mismatch(Panel[Row]):
    """Bound and accuracy of a VAE against gradient steps."""

    name: ClassVar = "mismatch"
    figures: ClassVar = ("2",)
    title: ClassVar = "Figure 2 left: objective mismatch of a VAE"
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
        """Both curves."""
        row = rows[VAE]
        panels = {
            "few-shot accuracy": {VAE: row.curve("ridge")},
            "evidence lower bound, nats per row": {VAE: row.curve(BOUND)},
        }
        figure = lines(panels, "", "", log=("x",))
        for axes in figure.axes:
            axes.set_xlabel("gradient steps")
        return figure

    def checks(self, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """The bound improves after the peak of accuracy; accuracy falls."""
        row = rows[VAE]
        accuracy, bound = row.draws("ridge"), row.draws(BOUND)
        peak = int(accuracy.mean(1).argmax())
        rise, fall = over_draws(bound[-1] - bound[peak]), accuracy[peak] - accuracy[-1]
        return [
            Check(
                "the bound improves after the step of the best accuracy",
                f"{rise.mean:+,.0f} ± {rise.error:,.0f} nats",
                rise.held,
            ),
            *everywhere(
                "accuracy falls from its best to the end",
                {f"step {row.steps[peak]:,} above the last": over_draws(100 * fall)},
            ),
        ]
