"""Figure 5: other widths, depths and activations than a rule was meta-trained on."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from matplotlib.figure import Figure

from lit_lul.evaluation.held_out import HeldOut
from lit_lul.networks.mlp import ACTIVATIONS, MLPs
from lit_lul.report.stored_rows import Row
from studies.figures.context import Context
from studies.figures.panel import (
    Check,
    Measurement,
    Panel,
    difference,
    every,
    percent,
)

RANDOM = "random initialisation"
NEAR_RELU = ("leaky_relu", "swish")
STEP_FACTOR = 2


@dataclass(frozen=True)
class TransferSettings:
    """Networks of figure 5."""

    dataset: str = "mnist14"
    """Name of the dataset."""
    widths: list[int] = field(default_factory=lambda: [16, 32, 64, 128, 256, 512, 1024])
    """Units of every hidden layer."""
    few_draws_above: int = 1024
    """Networks wider than this have two draws."""
    layers: int = 4
    """Hidden layers, of networks of all widths and activations."""
    depths: list[int] = field(default_factory=lambda: [1, 2, 3, 5, 7, 9, 11])
    """Hidden layers, of 128 units."""
    units: int = 128
    """Units of every hidden layer, of networks of all depths and activations."""
    activations: list[str] = field(default_factory=lambda: list(ACTIVATIONS))
    """Nonlinearities."""
    trained_widths: tuple[int, int] = (32, 96)
    """Bounds of the widths in the meta-training of `small`."""
    trained_depths: tuple[int, int] = (1, 3)
    """Bounds of its hidden layers."""


class _Transfer(Panel[Row]):
    """Rules on networks that differ in one way from one another."""

    kind = Row

    def __init__(self, settings: TransferSettings, context: Context) -> None:
        self._settings, self._context = settings, context

    @abstractmethod
    def _networks(self) -> dict[str, MLPs]:
        """The networks by what is varied."""

    def _held_out(self, networks: MLPs) -> HeldOut:
        entry = self._context.entry(self._settings.dataset)
        wide = networks.hidden_units[1] > self._settings.few_draws_above
        return replace(entry, networks=networks, draws=min(entry.draws, 2) if wide else entry.draws)

    def measurements(self) -> list[Measurement[Row]]:
        """A curve per network and rule."""
        return [
            self._context.curve(
                f"{name}, {varied}", self._settings.dataset, self._held_out(networks), rule
            )
            for name, rule in self._context.rules.items()
            for varied, networks in self._networks().items()
        ]

    def protocol(self) -> str:
        """Dataset, steps and draws."""
        entry = self._context.entry(self._settings.dataset)
        return (
            f"{self._settings.dataset}, {entry.inner_steps} inner steps on minibatches of "
            f"{entry.batch_size}, {entry.draws} draws of {entry.labels_per_class} labels per "
            f"class, {entry.protocol}. *Random initialisation* is the same network before the "
            "first step."
        )

    def _of(self, rule: str, rows: Mapping[str, Row]) -> dict[str, Row]:
        """A rule's rows by what is varied."""
        found = {varied: rows.get(f"{rule}, {varied}") for varied in self._networks()}
        return {varied: row for varied, row in found.items() if row is not None}

    def _above_random(self, where: str, rows: Mapping[str, Row]) -> list[Check]:
        checks = []
        for rule in self._context.rules:
            if of_rule := self._of(rule, rows):
                gaps = {n: difference(row, row.at_start()) for n, row in of_rule.items()}
                checks.append(every(f"`{rule}` above random initialisation at {where}", gaps))
        return checks


class Sizes(_Transfer):
    """Figure 5 left: widths and depths."""

    name, figure, title = "sizes", ("5",), "Figure 5 left: width and depth"
    paper = (
        "Accuracy on MNIST at 14 × 14 grows with width, up to 10,000 units where meta-training had "
        "512 at most, and the rule works at all depths up to 11 layers."
    )

    def _networks(self) -> dict[str, MLPs]:
        s = self._settings
        widths = {f"width {w}": MLPs((s.layers, s.layers), (w, w)) for w in s.widths}
        return widths | {f"depth {d}": MLPs((d, d), (s.units, s.units)) for d in s.depths}

    def draw(self, rows: Mapping[str, Row]) -> Figure:
        """Accuracy against width, and against depth, with the trained range shaded."""
        s = self._settings
        figure = Figure(figsize=(10, 4), layout="constrained")
        plots = figure.subplots(1, 2, sharey=True)
        ranges = (s.trained_widths, s.trained_depths)
        for plot, varied, trained in zip(plots, ("width", "depth"), ranges, strict=True):
            plot.axvspan(*trained, color="0.9", label="range in meta-training")
            for i, rule in enumerate(self._context.rules):
                points = [
                    (int(name.split()[1]), row)
                    for name, row in self._of(rule, rows).items()
                    if name.startswith(varied)
                ]
                for style, label, at in (("o-", rule, -1), (":", RANDOM, 0)):
                    if points and (i == 0 or at == -1):
                        curves = [row.curve("ridge") for _, row in points]
                        plot.errorbar(
                            [x for x, _ in points],
                            [curve.mean[at] for curve in curves],
                            [curve.standard_error[at] for curve in curves],
                            fmt=style,
                            color=f"C{i}" if at == -1 else "0.5",
                            label=label,
                        )
            plot.grid(alpha=0.3)
        plots[0].set(
            xscale="log",
            xlabel=f"units per layer, {s.layers} hidden layers",
            ylabel="few-shot accuracy",
        )
        plots[0].set_xticks(s.widths, [str(width) for width in s.widths])
        plots[0].minorticks_off()
        plots[0].legend(loc="center right")
        plots[1].set(xlabel=f"hidden layers of {s.units} units", xticks=s.depths)
        return figure

    def shows(self, rows: Mapping[str, Row]) -> str:
        """The ends and the best of both sweeps."""
        sentences = []
        for rule in self._context.rules:
            of_rule = self._of(rule, rows)
            for varied in ("width", "depth"):
                points = {n: r for n, r in of_rule.items() if n.startswith(varied)}
                if len(points) > 1:
                    best = max(points, key=lambda n: points[n].curve("ridge").mean[-1])
                    ends = (n for n in (next(iter(points)), *list(points)[-1:]))
                    told = ", ".join(f"{percent(points[n])} at {n}" for n in ends)
                    sentences.append(f"`{rule}`: {told}; best {percent(points[best])} at {best}.")
        return " ".join(sentences)

    def checks(self, rows: Mapping[str, Row]) -> list[Check]:
        """Above random everywhere; growth with width."""
        checks = self._above_random("every width and depth", rows)
        most = self._settings.trained_widths[1]
        for rule in self._context.rules:
            wider = {
                int(name.split()[1]): row
                for name, row in self._of(rule, rows).items()
                if name.startswith("width") and int(name.split()[1]) > most
            }
            if len(wider) > 1:
                (least, first), (largest, last) = min(wider.items()), max(wider.items())
                drawn = min(first.draws("ridge").shape[1], last.draws("ridge").shape[1])
                gap = difference(_first_draws(last, drawn), _first_draws(first, drawn))
                claim = f"`{rule}` grows with width beyond {most} units ({largest} above {least})"
                checks.append(every(claim, {f"width {largest}": gap}))
        return checks


class Activations(_Transfer):
    """Figure 5 right: activations."""

    name, figure, title = "activations", ("5",), "Figure 5 right: activations"
    paper = (
        "A rule that was meta-trained on relu is better than random initialisation with all other "
        "activations; step has about twice the accuracy of its random network, and leaky relu and "
        "swish are nearly as good as relu."
    )

    def _networks(self) -> dict[str, MLPs]:
        s = self._settings
        return {
            name: MLPs((s.layers, s.layers), (s.units, s.units), name) for name in s.activations
        }

    def draw(self, rows: Mapping[str, Row]) -> Figure:
        """Bars by activation: rules, and random initialisation."""
        figure = Figure(figsize=(10, 4), layout="constrained")
        plot = figure.subplots()
        names = self._settings.activations
        rules = list(self._context.rules)
        share = 0.8 / (len(rules) + 1)
        for i, label in enumerate([RANDOM, *rules]):
            of_rule = self._of(rules[0] if label == RANDOM else label, rows)
            for name, row in of_rule.items():
                curve, at = row.curve("ridge"), 0 if label == RANDOM else -1
                plot.bar(
                    names.index(name) + (i - len(rules) / 2) * share,
                    curve.mean[at],
                    share,
                    yerr=curve.standard_error[at],
                    color="0.6" if label == RANDOM else f"C{i - 1}",
                    label=label if name == next(iter(of_rule)) else None,
                )
        plot.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
        plot.set(ylabel="few-shot accuracy")
        plot.grid(alpha=0.3, axis="y")
        plot.legend()
        return figure

    def shows(self, rows: Mapping[str, Row]) -> str:
        """All accuracies."""
        return " ".join(
            f"`{rule}`: {', '.join(f'{name} {percent(row)}' for name, row in of_rule.items())}."
            for rule in self._context.rules
            if (of_rule := self._of(rule, rows))
        ).replace("_", " ")

    def checks(self, rows: Mapping[str, Row]) -> list[Check]:
        """Above random everywhere; step; what is like relu."""
        checks = self._above_random("every activation", rows)
        for rule in self._context.rules:
            of_rule = self._of(rule, rows)
            if "step" in of_rule:
                curve = of_rule["step"].curve("ridge")
                checks.append(
                    Check(
                        f"`{rule}`: step has twice the accuracy of its random network",
                        curve.mean[-1] >= STEP_FACTOR * curve.mean[0],
                        f"{percent(of_rule['step'])} against {percent(of_rule['step'], at=0)}",
                    )
                )
            near = [name for name in NEAR_RELU if name in of_rule]
            if near and "relu" in of_rule:
                gaps = {name: difference(of_rule["relu"], of_rule[name]) for name in near}
                checks.append(
                    Check(
                        f"`{rule}`: leaky relu and swish are within 5 points of relu",
                        all(gap.mean < 5 for gap in gaps.values()),
                        "; ".join(
                            f"relu above {n.replace('_', ' ')} by {g}" for n, g in gaps.items()
                        ),
                    )
                )
        return checks


def _first_draws(row: Row, count: int) -> Row:
    accuracy = {p: [draws[:count] for draws in steps] for p, steps in row.accuracy.items()}
    return Row(row.key, row.steps, accuracy)


def panels(settings: TransferSettings, context: Context) -> Sequence[Panel[Row]]:
    """The panels of figure 5."""
    return [Sizes(settings, context), Activations(settings, context)]
