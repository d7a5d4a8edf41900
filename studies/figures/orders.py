"""Orders of the inputs: a rule on intact, sorted and permuted inputs (section 4.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from matplotlib.figure import Figure

from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.learners.learner import Learner
from lit_lul.report.stored_rows import Row, autocast
from studies.figures.context import RIDGE, Context
from studies.figures.panel import Check, Measurement, Panel, difference, percent

PERMUTED, INTACT, SORTED = ORDERS = ("permuted", "intact", "sorted")
POINTS = 2.0


@dataclass(frozen=True)
class OrdersSettings:
    """Datasets of the comparison."""

    datasets: list[str] = field(default_factory=lambda: ["glyphs", "mnist14"])
    """Names of datasets."""


class Orders(Panel[Row]):
    """Rules on inputs that every draw permutes, in their own order, and sorted by their mean."""

    name, figure, title = "orders", ("2",), "Section 4.2: the order of the inputs"
    kind = Row
    paper = (
        "The rule's accuracy is the same on intact and on permuted inputs, because meta-training "
        "permutes the inputs of every task."
    )

    def __init__(self, settings: OrdersSettings, context: Context) -> None:
        self._datasets, self._context = settings.datasets, context

    def measurements(self) -> list[Measurement[Row]]:
        """A rule, a dataset and an order each."""
        return [
            self._measurement(f"{name}, {dataset}, {order}", rule, dataset, order)
            for dataset in self._datasets
            for name, rule in self._context.rules.items()
            for order in ORDERS
        ]

    def _measurement(self, name: str, rule: Learner, dataset: str, order: str) -> Measurement[Row]:
        entry = replace(self._context.entry(dataset), permuted=order == PERMUTED)
        if order != SORTED:
            return self._context.curve(name, dataset, entry, rule)
        key = self._context.key(rule, entry.describe(), order)

        def measure() -> Row:
            data = sort_inputs(self._context.load(dataset))
            with autocast(self._context.precision):
                numbers = range(entry.draws)
                accuracy = roll_out_draws(rule, RIDGE, data, entry, numbers).accuracy
            by_probe = dict(zip(entry.probes, accuracy.tolist(), strict=True))
            return Row(key, list(entry.probe_steps), by_probe)

        return Measurement(name, key, self._context.seconds(rule, entry), measure)

    def protocol(self) -> str:
        """Steps, draws and orders."""
        entry = self._context.entry(self._datasets[0])
        return (
            f"{entry.inner_steps} inner steps, {entry.draws} draws, {entry.protocol}. *Permuted*: "
            "every draw has a random order of its own. *Intact*: pixels line by line. *Sorted*: by "
            "their mean over the unlabelled rows. Networks, labels and minibatches are the same."
        )

    def draw(self, rows: Mapping[str, Row]) -> Figure:
        """Bars by order, a plot per dataset."""
        figure = Figure(figsize=(4.5 * len(self._datasets), 3.6), layout="constrained")
        plots = figure.subplots(1, len(self._datasets), sharey=True, squeeze=False)[0]
        rules = list(self._context.rules)
        for plot, dataset in zip(plots, self._datasets, strict=True):
            for i, order in enumerate(ORDERS):
                found = {n: rows.get(f"{name}, {dataset}, {order}") for n, name in enumerate(rules)}
                curves = {n: row.curve("ridge") for n, row in found.items() if row is not None}
                plot.bar(
                    [n + (i - 1) * 0.27 for n in curves],
                    [curve.mean[-1] for curve in curves.values()],
                    0.27,
                    yerr=[curve.standard_error[-1] for curve in curves.values()],
                    color=f"C{i}",
                    label=order,
                )
            plot.set_xticks(range(len(rules)), rules)
            plot.set_title(dataset)
            plot.grid(alpha=0.3, axis="y")
        plots[0].set_ylabel("few-shot accuracy")
        plots[0].legend(loc="lower center", framealpha=1)
        return figure

    def _found(self, rows: Mapping[str, Row]) -> dict[tuple[str, str], dict[str, Row]]:
        """Rows by order, of every rule and dataset that have all of them."""
        found = {}
        for dataset in self._datasets:
            for rule in self._context.rules:
                names = {order: f"{rule}, {dataset}, {order}" for order in ORDERS}
                if all(name in rows for name in names.values()):
                    found[rule, dataset] = {order: rows[name] for order, name in names.items()}
        return found

    def shows(self, rows: Mapping[str, Row]) -> str:
        """Accuracy in every order."""
        return " ".join(
            f"`{rule}` on {dataset}: {', '.join(f'{o} {percent(r)}' for o, r in of.items())}."
            for (rule, dataset), of in self._found(rows).items()
        )

    def checks(self, rows: Mapping[str, Row]) -> list[Check]:
        """Intact and sorted are as good as permuted, to two points."""
        checks = []
        for (rule, dataset), of in self._found(rows).items():
            gaps = {order: difference(of[PERMUTED], of[order]) for order in (INTACT, SORTED)}
            checks.append(
                Check(
                    f"`{rule}` on {dataset} is the same in all orders, to {POINTS:g} points",
                    all(abs(gap.mean) <= POINTS for gap in gaps.values()),
                    "; ".join(f"permuted above {order} by {gap}" for order, gap in gaps.items()),
                )
            )
        return checks


def sort_inputs(data: HeldOutData) -> HeldOutData:
    """The data with inputs sorted by their mean over the unlabelled rows."""
    order = data.unlabelled.float().mean(0).argsort(stable=True)
    return replace(data, unlabelled=data.unlabelled[:, order], x=data.x[:, order])


def panels(settings: OrdersSettings, context: Context) -> Sequence[Panel[Row]]:
    """The panel."""
    return [Orders(settings, context)]
