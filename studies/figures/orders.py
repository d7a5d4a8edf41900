"""Orders of the inputs: a rule on intact, sorted and permuted inputs (section 4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import ClassVar

from matplotlib.figure import Figure

from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.report.page import Check, difference
from lit_lul.report.plots import bars
from lit_lul.report.rows import Row
from lit_lul.report.study import Measurement
from studies.checks import within
from studies.figures.measurements import Context
from studies.figures.panel import Panel, interval

PERMUTED, _, SORTED = ORDERS = ("permuted", "intact", "sorted")


@dataclass(frozen=True)
class Orders(Panel[Row]):
    """Rules on inputs that every draw permutes, in their own order, and sorted by their mean."""

    name: ClassVar = "orders"
    figures: ClassVar = ("2",)
    title: ClassVar = "Section 4.2: the order of the inputs"
    paper: ClassVar = (
        "The rule's accuracy is the same on intact and on permuted inputs, because meta-training "
        "permutes the inputs of every task."
    )

    datasets: list[str] = field(default_factory=lambda: ["glyphs", "mnist14"])
    """Names of datasets."""

    def measurements(self, context: Context) -> list[Measurement[Row]]:
        """A rule, a dataset and an order each."""
        made = []
        for dataset, (name, rule), order in product(self.datasets, context.rules.items(), ORDERS):
            entry = replace(context.entry(dataset), permuted=order == PERMUTED)
            changed = (sort_inputs, order) if order == SORTED else ()
            full_name = f"{name}, {dataset}, {order}"
            made.append(context.curve(full_name, dataset, entry, rule, *changed))
        return made

    def protocol(self, context: Context) -> str:
        """Steps, draws and orders."""
        return (
            f"{context.protocol(self.datasets[0])}. *Permuted*: every draw has a random order of "
            "its own. *Intact*: pixels line by line. *Sorted*: by their mean over the unlabelled "
            "rows. Networks, labels and minibatches are the same."
        )

    def draw(self, context: Context, rows: Mapping[str, Row]) -> Figure:
        """Accuracy by rule and order, a plot per dataset."""
        panels = {
            dataset: {
                f"{rule}, {order}": interval(rows.get(f"{rule}, {dataset}, {order}"))
                for rule in context.rules
                for order in ORDERS
            }
            for dataset in self.datasets
        }
        return bars(panels, "few-shot accuracy")

    def checks(self, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """Intact and sorted are as good as permuted, to two points."""
        checks = []
        for dataset, rule in product(self.datasets, context.rules):
            permuted, *others = (rows.get(f"{rule}, {dataset}, {order}") for order in ORDERS)
            gaps = {
                f"permuted above {order}": difference(permuted, row)
                for order, row in zip(ORDERS[1:], others, strict=True)
                if row is not None and permuted is not None
            }
            checks += within(f"`{rule}` on {dataset} is the same in all orders", gaps)
        return checks


def sort_inputs(data: HeldOutData) -> HeldOutData:
    """The data with inputs sorted by their mean over the unlabelled rows."""
    order = data.unlabelled.float().mean(0).argsort(stable=True)
    return replace(data, unlabelled=data.unlabelled[:, order], x=data.x[:, order])
