"""Figure 4 left: a rule, a VAE, supervised training and random networks with few labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar

from matplotlib.figure import Figure

from lit_lul.report.page import Check, difference
from lit_lul.report.plots import bars
from lit_lul.report.rows import Row
from lit_lul.report.study import Measurement
from studies.checks import everywhere
from studies.figures.measurements import Context
from studies.figures.panel import RANDOM, Panel, interval
from studies.networks.supervised import RATES
from studies.networks.training import log_spaced

VAE, SUPERVISED = "VAE", "supervised"


@dataclass(frozen=True)
class FewLabels(Panel[Row]):
    """Bars by dataset."""

    name: ClassVar = "few_labels"
    figures: ClassVar = ("4",)
    title: ClassVar = "Figure 4 left: few labels"
    paper: ClassVar = (
        "With 10 labels per class on MNIST and Fashion-MNIST, at 14 × 14 and at 28 × 28, the rule "
        "after 3,000 steps is better than a VAE after 100,000, than the same network trained on "
        "the labels, and than random initialisation."
    )

    datasets: list[str] = field(
        default_factory=lambda: ["mnist14", "mnist28", "fashion14", "fashion28"]
    )
    """Names of datasets."""
    vae_steps: int = 100_000
    """Gradient steps of the VAE."""
    supervised_steps: int = 10_000
    """Gradient steps of supervised training."""

    def measurements(self, context: Context) -> list[Measurement[Row]]:
        """Rules, VAE, and supervised training at every rate, on every dataset."""
        made = []
        steps, vae_steps = log_spaced(self.supervised_steps), log_spaced(self.vae_steps)
        for dataset in self.datasets:
            entry = context.entry(dataset)
            for name, rule in context.rules.items():
                made.append(context.curve(f"{dataset}, {name}", dataset, entry, rule))
            for rate in RATES:
                name = f"{dataset}, {SUPERVISED} {rate:g}"
                made.append(context.supervised_curve(name, dataset, steps, rate))
            made.append(context.vae_curve(f"{dataset}, {VAE}", dataset, vae_steps))
        return made

    def protocol(self, context: Context) -> str:
        """Steps and draws."""
        return (
            f"rules: {context.protocol(self.datasets[0])}; VAE: {self.vae_steps:,} gradient steps; "
            f"supervised: the same network as the rules', {self.supervised_steps:,} steps on the "
            f"labels, at the learning rate of {', '.join(f'{r:g}' for r in RATES)} that is best on "
            "the test examples, as in the paper."
        )

    def draw(self, context: Context, rows: Mapping[str, Row]) -> Figure:
        """Accuracy by column, a plot per dataset."""
        panels = {
            dataset: {
                name: interval(columns.get(name))
                for name in (*context.rules, VAE, SUPERVISED, RANDOM)
            }
            for dataset, columns in self._columns(context, rows).items()
        }
        return bars(panels, "few-shot accuracy")

    def checks(self, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """Rules are above all others, on all datasets."""
        checks = []
        for rule, other in product(context.rules, (VAE, SUPERVISED, RANDOM)):
            gaps = {
                dataset: difference(columns[rule], columns[other])
                for dataset, columns in self._columns(context, rows).items()
                if rule in columns and other in columns
            }
            checks += everywhere(f"`{rule}` above {other} on every dataset", gaps)
        return checks

    def _columns(self, context: Context, rows: Mapping[str, Row]) -> dict[str, dict[str, Row]]:
        """What has been measured, by dataset and column."""
        found: dict[str, dict[str, Row]] = {dataset: {} for dataset in self.datasets}
        for name, row in rows.items():
            dataset, column = name.split(", ")
            columns = found[dataset]
            if not column.startswith(SUPERVISED):
                columns[column] = row
            elif SUPERVISED not in columns or _last(row) > _last(columns[SUPERVISED]):
                columns[SUPERVISED] = row  # at the best rate
            if column in context.rules:
                columns.setdefault(RANDOM, row.at_start())
        return found


def _last(row: Row) -> float:
    return row.curve("ridge").mean[-1]
