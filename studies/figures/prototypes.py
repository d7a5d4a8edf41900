"""Figure 2 right: a prototypical network, and rules, on intact and on permuted inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import ClassVar

from matplotlib.figure import Figure
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.probes import probe
from lit_lul.learners.learner import Learner
from lit_lul.report.page import Check
from lit_lul.report.plots import bars
from lit_lul.report.rows import DEVICE, Row, digest
from lit_lul.report.study import Measurement
from studies.checks import everywhere, over_draws, within
from studies.figures.measurements import RIDGE, Context
from studies.figures.panel import Panel, interval
from studies.networks.prototypical import (
    QUERIES,
    SHOTS,
    WAYS,
    Classes,
    nearest_mean,
    train_prototypical,
)

INTACT, PERMUTED, CROSSED = CELLS = ("intact", "permuted", "crossed")
"""Orders in training and tests: both intact, both permuted, or permuted in tests alone."""
NETWORK, RAW, MEANS = "prototypical network", "raw inputs", "nearest mean"
SECONDS_PER_EPISODE = 8e-3


@dataclass(frozen=True)
class Prototypes(Panel[Row]):
    """Bars by order of the inputs."""

    name: ClassVar = "prototypes"
    figures: ClassVar = ("2",)
    title: ClassVar = "Figure 2 right: a prototypical network"
    paper: ClassVar = (
        "On mini-ImageNet, a prototypical network that is meta-trained on permuted inputs has "
        "greatly reduced accuracy; the rule is the same on both."
    )

    datasets: dict[str, list[str]] = field(
        default_factory=lambda: {"glyphs": ["all_glyphs_seen", "all_glyphs", "glyphs"]}
    )
    """By title: names of the data of the training classes, of the data of the test classes, and of
    the entry for rules, ten of the test classes."""
    episodes: int = 10_000
    """Training episodes."""
    test_episodes: int = 600
    """Test episodes."""
    seeds: int = 3
    """Networks."""

    def measurements(self, context: Context) -> list[Measurement[Row]]:
        """Networks by dataset and order in training; raw inputs, and rules by order."""
        made = []
        for title, (seen, unseen, entry) in self.datasets.items():
            for order in (INTACT, PERMUTED):
                made.append(self._network(f"{title}, {NETWORK}", context, seen, unseen, order))
                for name, rule in context.rules.items():
                    made.append(_rule(f"{title}, {name}", context, entry, rule, order))
        return made

    def _network(
        self, name: str, context: Context, seen: str, unseen: str, order: str
    ) -> Measurement[Row]:
        """A curve over episodes with a probe per cell."""
        permuted, steps = order == PERMUTED, (0, self.episodes)
        cells = (PERMUTED,) if permuted else (INTACT, CROSSED)
        entries = [context.entry(name).describe() for name in (seen, unseen)]
        key = digest([entries, permuted, steps, self.test_episodes, self.seeds, NETWORK])

        def measure() -> Row:
            trained, tested = (context.load(name) for name in (seen, unseen))
            if trained.unlabelled_classes is None:
                raise InvalidInput(f"prototypes: dataset {seen}: its entry must have all classes")
            test = Classes(tested.x, tested.labels, tested.scale)
            found = train_prototypical(
                Classes(trained.unlabelled, trained.unlabelled_classes, trained.scale),
                permuted,
                {cell: (test, cell != INTACT) for cell in cells},
                range(self.seeds),
                steps,
                DEVICE,
                test_episodes=self.test_episodes,
            )
            return Row(key, list(steps), {cell: of.tolist() for cell, of in found.items()})

        episodes = self.seeds * (self.episodes + 2 * len(cells) * self.test_episodes / 3)
        return Measurement(f"{name}, {order}", key, episodes * SECONDS_PER_EPISODE, measure)

    def protocol(self, context: Context) -> str:
        """Episodes and draws."""
        rule = context.protocol(next(iter(self.datasets.values()))[-1])
        return (
            f"prototypical network: 3 × 128 units, {self.episodes:,} episodes of {WAYS} classes "
            f"with {SHOTS} labels, {self.test_episodes} test episodes of other classes, "
            f"{self.seeds} networks. *Permuted*: every episode, in training too, has its own "
            f"order; *crossed*: permuted in tests only. Rules: {rule}, but {SHOTS} labels, on "
            f"unlabelled rows of {WAYS} of these other classes."
        )

    def draw(self, context: Context, rows: Mapping[str, Row]) -> Figure:
        """Accuracy by column and order, a plot per dataset."""
        panels = {title: _intervals(title, context, rows) for title in self.datasets}
        figure = bars(panels, f"accuracy, {WAYS} classes, {SHOTS} labels each")
        for axes in figure.axes:
            axes.axvline(1 / WAYS, color="0.6", linestyle=":")  # chance
        return figure

    def checks(self, context: Context, rows: Mapping[str, Row]) -> list[Check]:
        """The network loses by permutation, the rules do not."""
        checks = []
        for name in (NETWORK, *context.rules):
            probes = (INTACT, PERMUTED) if name == NETWORK else ("ridge", "ridge")
            gaps = {}
            for title in self.datasets:
                found = [rows.get(f"{title}, {name}, {order}") for order in (INTACT, PERMUTED)]
                accuracy = [r.draws(p)[-1] for r, p in zip(found, probes, strict=True) if r]
                if len(accuracy) == 2:
                    lost = accuracy[0] - accuracy[1]
                    gaps[f"intact above permuted on {title}"] = over_draws(100 * lost)
            if name == NETWORK:
                checks += everywhere(f"the {NETWORK} loses accuracy by permuted inputs", gaps)
            else:
                checks += within(f"`{name}` is the same on both", gaps)
        return checks


def _rule(name: str, context: Context, dataset: str, rule: Learner, order: str) -> Measurement[Row]:
    """Ridge and nearest mean on the embedding, and nearest mean on raw inputs."""
    held_out = replace(
        context.entry(dataset),
        permuted=order == PERMUTED,
        labels_per_class=SHOTS,
        tests_per_class=QUERIES,
        points=1,
    )
    key = context.key(rule, held_out.describe(), MEANS)

    def measure() -> Row:
        steps = [held_out.inner_steps]
        draws, (u,) = context.embeddings(rule, dataset, held_out, steps)
        raw = (draws.labelled.support_x[0], draws.labelled.query_x[0])
        ridge = probe(["ridge"], RIDGE, draws, *u)[0]
        accuracy = {"ridge": ridge, MEANS: _by_mean(*u, draws), RAW: _by_mean(*raw, draws)}
        return Row(key, steps, {name: [of.tolist()] for name, of in accuracy.items()})

    return Measurement(f"{name}, {order}", key, context.seconds(rule, held_out), measure)


def _by_mean(support: Tensor, query: Tensor, draws: Draws) -> Tensor:
    """Accuracy (T,) of the nearest class mean; support and query are sorted by class."""
    classes = int(draws.support_labels.max()) + 1
    apart = (u.unflatten(1, (classes, -1)) for u in (support, query))
    guess = nearest_mean(*apart).argmax(-1).cpu()
    return (guess == draws.query_labels).double().mean(-1)


def _intervals(
    title: str, context: Context, rows: Mapping[str, Row]
) -> dict[str, tuple[float, float, float]]:
    """Accuracy by column and order."""
    found = {}
    for cell in CELLS:
        order = PERMUTED if cell == PERMUTED else INTACT
        found[f"{NETWORK}, {cell}"] = interval(rows.get(f"{title}, {NETWORK}, {order}"), cell)
    for rule in context.rules:
        columns = {RAW: RAW, f"{rule}, {MEANS}": MEANS, f"{rule}, ridge": "ridge"}
        for (name, by), order in product(columns.items(), (INTACT, PERMUTED)):
            row = rows.get(f"{title}, {rule}, {order}")
            found.setdefault(f"{name}, {order}", interval(row, by))
    return found
