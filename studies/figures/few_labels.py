"""Figure 4 left: a rule, a VAE, supervised training and random networks with few labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from lit_lul.report.stored_rows import Row
from studies.figures.baselines import supervised_curve, vae_curve
from studies.figures.context import Context
from studies.figures.panel import Check, Measurement, Panel, difference, every, percent
from studies.networks.supervised import RATES
from studies.networks.training import log_spaced

VAE, SUPERVISED, RANDOM = "VAE", "supervised", "random initialisation"


@dataclass(frozen=True)
class FewLabelsSettings:
    """Datasets and baselines of figure 4 left."""

    datasets: list[str] = field(
        default_factory=lambda: ["mnist14", "mnist28", "fashion14", "fashion28"]
    )
    """Names of datasets."""
    vae_steps: int = 100_000
    """Gradient steps of the VAE."""
    supervised_steps: int = 10_000
    """Gradient steps of supervised training."""


class FewLabels(Panel[Row]):
    """Bars by dataset."""

    name, figure, title = "few_labels", ("4",), "Figure 4 left: few labels"
    kind = Row
    paper = (
        "With 10 labels per class on MNIST and Fashion-MNIST, at 14 × 14 and at 28 × 28, the rule "
        "after 3,000 steps is better than a VAE after 100,000, than the same network trained on "
        "the labels, and than random initialisation."
    )

    def __init__(self, settings: FewLabelsSettings, context: Context) -> None:
        self._settings, self._context = settings, context

    def measurements(self) -> list[Measurement[Row]]:
        """Rules, VAE, and supervised training at every rate, on every dataset."""
        s, context, made = self._settings, self._context, []
        for dataset in s.datasets:
            entry = context.entry(dataset)
            made += [
                context.curve(f"{dataset}, {name}", dataset, entry, rule)
                for name, rule in context.rules.items()
            ]
            made += [
                supervised_curve(
                    context,
                    f"{dataset}, {SUPERVISED} {rate:g}",
                    dataset,
                    log_spaced(s.supervised_steps),
                    rate,
                )
                for rate in RATES
            ]
            made.append(vae_curve(context, f"{dataset}, {VAE}", dataset, log_spaced(s.vae_steps)))
        return made

    def protocol(self) -> str:
        """Steps and draws."""
        s, entry = self._settings, self._context.entry(self._settings.datasets[0])
        return (
            f"rules: {entry.inner_steps} inner steps of `{entry.networks}`; VAE: {s.vae_steps:,} "
            f"gradient steps; supervised: the same network as the rules', {s.supervised_steps:,} "
            f"steps on the labels, at the learning rate of {', '.join(f'{r:g}' for r in RATES)} "
            "that is best on the test examples, as in the paper; minibatches of "
            f"{entry.batch_size}, {entry.draws} draws, {entry.protocol}."
        )

    def _columns(self, dataset: str, rows: Mapping[str, Row]) -> dict[str, Row]:
        """What has been measured on a dataset, by column."""
        prefix = f"{dataset}, "
        found = {n.removeprefix(prefix): row for n, row in rows.items() if n.startswith(prefix)}
        columns = {name: found[name] for name in self._context.rules if name in found}
        if columns:
            columns[RANDOM] = next(iter(columns.values())).at_start()
        if VAE in found:
            columns[VAE] = found[VAE]
        if trained := [row for name, row in found.items() if name.startswith(SUPERVISED)]:
            columns[SUPERVISED] = max(trained, key=lambda row: row.curve("ridge").mean[-1])
        return columns

    def draw(self, rows: Mapping[str, Row]) -> Figure:
        """Bars by dataset and column."""
        names = [*self._context.rules, VAE, SUPERVISED, RANDOM]
        figure = Figure(figsize=(9, 4), layout="constrained")
        plot = figure.subplots()
        width = 0.85 / len(names)
        for i, name in enumerate(names):
            found = {
                place: columns[name].curve("ridge")
                for place, dataset in enumerate(self._settings.datasets)
                if name in (columns := self._columns(dataset, rows))
            }
            plot.bar(
                [place + (i - (len(names) - 1) / 2) * width for place in found],
                [curve.mean[-1] for curve in found.values()],
                width,
                yerr=[curve.standard_error[-1] for curve in found.values()],
                color="0.6" if name == RANDOM else f"C{i}",
                label=name,
            )
        plot.set_xticks(range(len(self._settings.datasets)), self._settings.datasets)
        plot.set_ylabel("few-shot accuracy")
        plot.grid(alpha=0.3, axis="y")
        plot.legend(loc="lower right", fontsize="small")
        return figure

    def shows(self, rows: Mapping[str, Row]) -> str:
        """All accuracies."""
        return " ".join(
            f"{dataset}: {', '.join(f'{name} {percent(row)}' for name, row in columns.items())}."
            for dataset in self._settings.datasets
            if (columns := self._columns(dataset, rows))
        )

    def checks(self, rows: Mapping[str, Row]) -> list[Check]:
        """Rules are above all others, on all datasets."""
        checks = []
        by_dataset = {d: self._columns(d, rows) for d in self._settings.datasets}
        for rule in self._context.rules:
            for other in (VAE, SUPERVISED, RANDOM):
                gaps = {
                    dataset: difference(columns[rule], columns[other])
                    for dataset, columns in by_dataset.items()
                    if rule in columns and other in columns
                }
                if gaps:
                    checks.append(every(f"`{rule}` above {other} on every dataset", gaps))
        return checks


def panels(settings: FewLabelsSettings, context: Context) -> Sequence[Panel[Row]]:
    """The panel."""
    return [FewLabels(settings, context)]
