"""Figure 2 left: the objective of a VAE improves while the accuracy of its code does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lit_lul.report.stored_rows import Row
from matplotlib.figure import Figure

from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.pictures import draw_line
from studies.figures.baselines import ELBO, vae_curve
from studies.figures.context import Context
from studies.figures.panel import Check, Difference, Measurement, Panel, every, percent
from studies.networks.training import log_spaced
from studies.networks.vae import RATE

VAE = "VAE"


@dataclass(frozen=True)
class MismatchSettings:
    """The autoencoder of figure 2 left."""

    dataset: str = "cifar16_train"
    """Name of the dataset."""
    steps: int = 100_000
    """Gradient steps."""


class Mismatch(Panel[Row]):
    """Bound and accuracy of a VAE against gradient steps."""

    name, figure, title = "mismatch", ("2",), "Figure 2 left: objective mismatch of a VAE"
    kind = Row
    paper = (
        "While a VAE is trained on CIFAR-10 at 16 × 16, its bound goes on improving, and the "
        "few-shot accuracy of its code, on the training split, decreases sharply."
    )

    def __init__(self, settings: MismatchSettings, context: Context) -> None:
        self._settings, self._context = settings, context

    def measurements(self) -> list[Measurement[Row]]:
        """One curve."""
        s = self._settings
        return [vae_curve(self._context, VAE, s.dataset, log_spaced(s.steps))]

    def protocol(self) -> str:
        """Steps and draws."""
        entry = self._context.entry(self._settings.dataset)
        return (
            f"{self._settings.dataset}, {self._settings.steps:,} steps of Adam at {RATE:g} on "
            f"minibatches of {entry.batch_size} (the paper: 100,000), {entry.draws} draws, "
            f"{entry.labels_per_class} labels per class, {entry.protocol}; the bound is of "
            f"{entry.statistics_rows:,} training rows."
        )

    def draw(self, rows: Mapping[str, Row]) -> Figure:
        """Both curves, with an axis each."""
        row = rows[VAE]
        figure = Figure(figsize=(6.5, 4), layout="constrained")
        left = figure.subplots()
        right = left.twinx()
        for axes, probe, colour in ((left, "ridge", "C0"), (right, ELBO, "C1")):
            draw_line(axes, row.curve(probe), colour, "o-")
            axes.tick_params(axis="y", labelcolor=colour)
        left.set_xscale("symlog", linthresh=10)
        left.set_xlabel("gradient steps")
        left.set_ylabel("few-shot accuracy", color="C0")
        right.set_ylabel("evidence lower bound, nats per row", color="C1")
        left.grid(alpha=0.3)
        return figure

    def shows(self, rows: Mapping[str, Row]) -> str:
        """Start, best and end."""
        row = rows[VAE]
        peak = _peak(row)
        bound = row.curve(ELBO)
        return (
            f"Accuracy is {percent(row, at=0)} before training, at most {percent(row, at=peak)} "
            f"(step {row.steps[peak]:,}) and {percent(row)} at the end; the bound goes from "
            f"{bound.mean[0]:,.0f} to {bound.mean[peak]:,.0f} and {bound.mean[-1]:,.0f} nats."
        )

    def checks(self, rows: Mapping[str, Row]) -> list[Check]:
        """The bound improves after the peak of accuracy; accuracy falls."""
        row = rows[VAE]
        peak = _peak(row)
        accuracy, bound = row.draws("ridge"), row.draws(ELBO)
        fall = Curve.of((0,), 100 * (accuracy[peak : peak + 1] - accuracy[-1:]))
        rise = Curve.of((0,), bound[-1:] - bound[peak : peak + 1])
        where = f"step {row.steps[peak]:,} above the last"
        return [
            Check(
                "the bound improves after the step of the best accuracy",
                rise.mean[0] > 2 * rise.standard_error[0],
                f"{rise.mean[0]:+,.0f} ± {rise.standard_error[0]:,.0f} nats",
            ),
            every(
                "accuracy falls from its best to the end",
                {where: Difference(fall.mean[0], fall.standard_error[0])},
            ),
        ]


def _peak(row: Row) -> int:
    """Index of the step of the best accuracy."""
    mean = row.curve("ridge").mean
    return mean.index(max(mean))


def panels(settings: MismatchSettings, context: Context) -> Sequence[Panel[Row]]:
    """The panel."""
    return [Mismatch(settings, context)]
