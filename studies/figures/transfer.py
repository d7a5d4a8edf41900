"""Figure 5: other widths, depths and activations than a rule was meta-trained on."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from matplotlib.figure import Figure

from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.networks import MLPs
from lit_lul.networks.mlp import ACTIVATIONS, Activation
from lit_lul.report.page import Check, difference, percent
from lit_lul.report.plots import bars, lines
from lit_lul.report.rows import Row
from lit_lul.report.study import Measurement
from studies.checks import everywhere, over_draws, within
from studies.figures.measurements import Context
from studies.figures.panel import RANDOM, Panel, across, interval

NEAR_RELU = ("leaky_relu", "swish")
STEP_FACTOR = 2
NEAR = 5.0


@dataclass(frozen=True)
class Transfer(Panel[Row]):
    """Rules on networks that differ in one way from one another."""

    figures: ClassVar = ("5",)

    dataset: str = "mnist14"
    """Name of the dataset."""
    layers: int = 4
    """Hidden layers, where they are not varied."""
    units: int = 128
    """Units of every hidden layer, where they are not varied."""

    @abstractmethod
    def networks(self) -> dict[str, MLPs]:
        """The networks by what is varied."""

    def held_out(self, networks: MLPs, context: Context) -> HeldOut:
        """The protocol with networks."""
        return replace(context.entry(self.dataset), networks=networks)

    def measurements(self, context: Context) -> list[Measurement[Row]]:
        """A curve per network and rule."""
        return [
            context.curve(f"{name}, {varied}", self.dataset, self.held_out(networks, context), rule)
            for name, rule in context.rules.items()
            for varied, networks in self.networks().items()
        ]

    def protocol(self, context: Context) -> str:
        """Dataset, steps and draws."""
        return (
            f"{self.dataset}, {context.protocol(self.dataset)}. *{RANDOM.capitalize()}* is the "
            "same network before the inner loop."
        )

    def of_rule(self, rule: str, rows: Mapping[str, Row]) -> dict[str, Row]:
        """A rule's rows by what is varied."""
        found = {varied: rows.get(f"{rule}, {varied}") for varied in self.networks()}
        return {varied: row for varied, row in found.items() if row is not None}

    def above_random(self, where: str, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """A check of every rule against the network before the inner loop."""
        checks = []
        for rule in context.rules:
            measured = self.of_rule(rule, rows).items()
            gaps = {name: difference(row, row.at_start()) for name, row in measured}
            checks += everywhere(f"`{rule}` above its {RANDOM} at {where}", gaps)
        return checks


@dataclass(frozen=True)
class Sizes(Transfer):
    """Widths and depths."""

    name: ClassVar = "sizes"
    title: ClassVar = "Figure 5 left: width and depth"
    paper: ClassVar = (
        "Accuracy on MNIST at 14 × 14 grows with width, up to 10,000 units where meta-training had "
        "512 at most, and the rule works at all depths up to 11 layers."
    )

    widths: list[int] = field(default_factory=lambda: [16, 32, 64, 128, 256, 512, 1024])
    """Units of every hidden layer."""
    few_draws_above: int = 1024
    """Networks wider than this have two draws."""
    depths: list[int] = field(default_factory=lambda: [1, 2, 3, 5, 7, 9, 11])
    """Hidden layers."""
    trained_widths: tuple[int, int] = (32, 96)
    """Bounds of the widths in the meta-training of `small`."""
    trained_depths: tuple[int, int] = (1, 3)
    """Bounds of its hidden layers."""

    def networks(self) -> dict[str, MLPs]:
        """Networks of all widths, then of all depths."""
        widths = {f"width {w}": MLPs((self.layers, self.layers), (w, w)) for w in self.widths}
        return widths | {f"depth {d}": MLPs((d, d), (self.units, self.units)) for d in self.depths}

    def held_out(self, networks: MLPs, context: Context) -> HeldOut:
        """The protocol with networks; wide ones have few draws."""
        entry = super().held_out(networks, context)
        wide = networks.hidden_units[1] > self.few_draws_above
        return replace(entry, draws=min(entry.draws, 2)) if wide else entry

    def draw(self, context: Context, rows: Mapping[str, Row]) -> Figure:
        """Accuracy against width, and against depth, with the trained range shaded."""
        titles = {
            f"units of {self.layers} hidden layers": "width",
            f"hidden layers of {self.units} units": "depth",
        }
        panels: dict[str, dict[str, Curve]] = {title: {} for title in titles}
        for title, varied in titles.items():
            for rule in context.rules:
                if points := self._points(varied, rule, rows):
                    panels[title][rule] = across(points)
                    starts = {size: row.at_start() for size, row in points.items()}
                    panels[title].setdefault(RANDOM, across(starts))
        figure = lines(panels, "", "few-shot accuracy")
        figure.axes[0].set_xscale("log", base=2)
        ranges = (self.trained_widths, self.trained_depths)
        for axes, trained in zip(figure.axes, ranges, strict=True):
            axes.axvspan(*trained, color="0.9", zorder=0)
        return figure

    def checks(self, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """Above random networks everywhere; growth with width."""
        checks = self.above_random("every width and depth", context, rows)
        most = self.trained_widths[1]
        for rule in context.rules:
            points = self._points("width", rule, rows)
            wider = {width: row for width, row in points.items() if width > most}
            if len(wider) > 1:
                (least, first), (largest, last) = min(wider.items()), max(wider.items())
                both = [row.draws("ridge")[-1] for row in (last, first)]
                draws = min(len(accuracy) for accuracy in both)
                gap = over_draws(100 * (both[0][:draws] - both[1][:draws]))
                claim = f"`{rule}` grows with width beyond {most} units"
                checks += everywhere(claim, {f"{largest} above {least}": gap})
        return checks

    def _points(self, varied: str, rule: str, rows: Mapping[str, Row]) -> dict[int, Row]:
        """Rows by width or depth."""
        return {
            int(name.split()[1]): row
            for name, row in self.of_rule(rule, rows).items()
            if name.startswith(varied)
        }


@dataclass(frozen=True)
class Activations(Transfer):
    """Activations."""

    name: ClassVar = "activations"
    title: ClassVar = "Figure 5 right: activations"
    paper: ClassVar = (
        "A rule that was meta-trained on relu is better than random initialisation with all other "
        "activations; step has about twice the accuracy of its random network, and leaky relu and "
        "swish are nearly as good as relu."
    )

    activations: list[Activation] = field(default_factory=lambda: list(ACTIVATIONS))
    """Nonlinearities."""

    def networks(self) -> dict[str, MLPs]:
        """A network of each."""
        layers, units = (self.layers, self.layers), (self.units, self.units)
        return {name: MLPs(layers, units, name) for name in self.activations}

    def draw(self, context: Context, rows: Mapping[str, Row]) -> Figure:
        """Accuracy by activation, a plot per rule and one for random networks."""
        found = {rule: self.of_rule(rule, rows) for rule in context.rules}
        first = next(iter(found.values()))
        found[RANDOM] = {name: row.at_start() for name, row in first.items()}
        panels = {
            title: {str(name): interval(of.get(name)) for name in self.activations}
            for title, of in found.items()
        }
        figure = bars(panels, "few-shot accuracy")
        for axes in figure.axes:
            axes.set_xlim(0, 1)
        return figure

    def checks(self, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """Above random networks everywhere; step; what is like relu."""
        checks = self.above_random("every activation", context, rows)
        for rule in context.rules:
            of_rule = self.of_rule(rule, rows)
            if row := of_rule.get("step"):
                accuracy = row.draws("ridge")
                checks.append(
                    Check(
                        f"`{rule}`: step has twice the accuracy of its {RANDOM}",
                        f"{percent(row)} against {percent(row, at=0)}",
                        over_draws(accuracy[-1] - STEP_FACTOR * accuracy[0]).held,
                    )
                )
            gaps = {
                f"relu above {name}": difference(of_rule["relu"], of_rule[name])
                for name in NEAR_RELU
                if name in of_rule and "relu" in of_rule
            }
            checks += within(f"`{rule}`: leaky relu and swish are like relu", gaps, NEAR)
        return checks
