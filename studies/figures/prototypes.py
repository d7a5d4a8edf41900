"""Figure 2 right: a prototypical network, and rules, on intact and on permuted inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import embed_labelled
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.probes import probe
from lit_lul.learners.learner import Learner
from lit_lul.learners.rollout import rollout
from lit_lul.report.stored_rows import DEVICE, Row, autocast, digest
from studies.figures.context import RIDGE, Context
from studies.figures.panel import (
    Check,
    Difference,
    Measurement,
    Panel,
    difference,
    every,
    percent,
)
from studies.networks.prototypical import (
    QUERIES,
    SHOTS,
    WAYS,
    Classes,
    nearest_mean,
    train_prototypical,
)

CELLS = ("intact", "permuted", "crossed")
"""Of training and tests: both intact, both permuted; intact in training and permuted in tests."""
NETWORK, RAW, MEANS = "prototypical network", "raw inputs", "nearest mean"
SECONDS_PER_EPISODE = 8e-3


@dataclass(frozen=True)
class PrototypesSettings:
    """Datasets and episodes of figure 2 right."""

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


class Prototypes(Panel[Row]):
    """Bars by order of the inputs."""

    name, figure, title = "prototypes", ("2",), "Figure 2 right: a prototypical network"
    kind = Row
    paper = (
        "On mini-ImageNet, a prototypical network that is meta-trained on permuted inputs has "
        "greatly reduced accuracy; the rule is the same on both."
    )

    def __init__(self, settings: PrototypesSettings, context: Context) -> None:
        self._settings, self._context = settings, context

    def measurements(self) -> list[Measurement[Row]]:
        """Networks by dataset and order in training; raw inputs, and rules by order."""
        made = []
        for title, (seen, unseen, entry) in self._settings.datasets.items():
            for permuted in (False, True):
                made.append(self._network(f"{title}, {NETWORK}", seen, unseen, permuted))
                for name, rule in self._context.rules.items():
                    made.append(self._rule(f"{title}, {name}", entry, rule, permuted))
        return made

    def _network(self, name: str, seen: str, unseen: str, permuted: bool) -> Measurement[Row]:
        """A curve over episodes with a probe per cell."""
        s, context = self._settings, self._context
        steps = (0, s.episodes)
        cells = ("permuted",) if permuted else ("intact", "crossed")
        entries = [context.entry(name).describe() for name in (seen, unseen)]
        key = digest([entries, permuted, steps, s.test_episodes, s.seeds, NETWORK])

        def measure() -> Row:
            trained, tested = (context.load(name) for name in (seen, unseen))
            test = Classes(tested.x, tested.labels, tested.scale)
            found = train_prototypical(
                _training_classes(trained, seen),
                permuted,
                [(test, cell != "intact") for cell in cells],
                range(s.seeds),
                steps,
                DEVICE,
                test_episodes=s.test_episodes,
            )
            return Row(key, list(steps), dict(zip(cells, found.accuracy.tolist(), strict=True)))

        episodes = s.seeds * (s.episodes + 2 * len(cells) * s.test_episodes / 3)
        return Measurement(
            f"{name}, {_order(permuted)}", key, episodes * SECONDS_PER_EPISODE, measure
        )

    def _rule(self, name: str, entry: str, rule: Learner, permuted: bool) -> Measurement[Row]:
        """Ridge and nearest mean on the embedding, and nearest mean on raw inputs."""
        context = self._context
        held_out = replace(
            context.entry(entry),
            permuted=permuted,
            labels_per_class=SHOTS,
            tests_per_class=QUERIES,
            points=1,
        )
        key = context.key(rule, held_out.describe(), MEANS)

        def measure() -> Row:
            data = context.load(entry)
            draws = Draws(data, held_out, range(held_out.draws), next(rule.parameters()))
            network = held_out.network_of(rule, data.x.shape[1])
            with torch.no_grad(), autocast(context.precision):
                start = draws.start(rule, network)
                ((_, state),) = rollout(
                    rule, network, start, draws.minibatch, [held_out.inner_steps]
                )
                params = rule.parameters_of(state)
                u = embed_labelled(held_out.protocol, RIDGE, network, params, draws)
            raw = (draws.labelled.support_x[0], draws.labelled.query_x[0])
            ridge = probe(["ridge"], RIDGE, draws, *u)[0]
            accuracy = {"ridge": ridge, MEANS: _by_mean(*u, draws), RAW: _by_mean(*raw, draws)}
            steps = [held_out.inner_steps]
            return Row(key, steps, {name: [of.tolist()] for name, of in accuracy.items()})

        return Measurement(
            f"{name}, {_order(permuted)}", key, context.seconds(rule, held_out), measure
        )

    def protocol(self) -> str:
        """Episodes and draws."""
        s, (_, _, entry) = self._settings, next(iter(self._settings.datasets.values()))
        held_out = self._context.entry(entry)
        return (
            f"prototypical network: 3 × 128 units, {s.episodes:,} episodes of {WAYS} classes with "
            f"{SHOTS} labels, {s.test_episodes} test episodes of other classes, {s.seeds} "
            "networks. *Permuted*: every episode, in training too, has its own order; *crossed*: "
            f"permuted in tests only. Rules: networks trained for {held_out.inner_steps} inner "
            f"steps on unlabelled rows of {WAYS} of these other classes, the same in "
            f"{held_out.draws} draws, {SHOTS} labels; {held_out.protocol}."
        )

    def _bars(self, title: str, rows: Mapping[str, Row]) -> dict[str, dict[str, tuple[Row, str]]]:
        """Rows and their probes by order and column."""
        bars: dict[str, dict[str, tuple[Row, str]]] = {cell: {} for cell in CELLS}
        for order in ("intact", "permuted"):
            if row := rows.get(f"{title}, {NETWORK}, {order}"):
                for cell in row.accuracy:
                    bars[cell][NETWORK] = (row, cell)
            for name in self._context.rules:
                if row := rows.get(f"{title}, {name}, {order}"):
                    bars[order] |= {
                        RAW: (row, RAW),
                        f"{name}, {MEANS}": (row, MEANS),
                        f"{name}, ridge": (row, "ridge"),
                    }
        return bars

    def draw(self, rows: Mapping[str, Row]) -> Figure:
        """A plot per dataset, bars by order and column."""
        titles = list(self._settings.datasets)
        names = [NETWORK, RAW]
        names += [f"{rule}, {by}" for rule in self._context.rules for by in (MEANS, "ridge")]
        figure = Figure(figsize=(5.5 * len(titles), 4.2), layout="constrained")
        plots = figure.subplots(1, len(titles), squeeze=False)[0]
        width = 0.85 / len(names)
        for plot, title in zip(plots, titles, strict=True):
            bars = self._bars(title, rows)
            for i, name in enumerate(names):
                found = {
                    place: row.curve(by)
                    for place, cell in enumerate(CELLS)
                    for row, by in [bars[cell].get(name, (None, ""))]
                    if row is not None
                }
                plot.bar(
                    [place + (i - (len(names) - 1) / 2) * width for place in found],
                    [curve.mean[-1] for curve in found.values()],
                    width,
                    yerr=[curve.standard_error[-1] for curve in found.values()],
                    color=f"C{i}",
                    label=name,
                )
            plot.axhline(1 / WAYS, color="0.6", linestyle=":", label="chance")
            plot.set_xticks(range(len(CELLS)), CELLS)
            plot.set_title(title)
            plot.grid(alpha=0.3, axis="y")
        plots[0].set_ylabel(f"accuracy, {WAYS} classes, {SHOTS} labels each")
        handles, labels = plots[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
        return figure

    def shows(self, rows: Mapping[str, Row]) -> str:
        """All accuracies."""
        sentences = []
        for title in self._settings.datasets:
            bars = self._bars(title, rows)
            columns = dict.fromkeys(name for cell in CELLS for name in bars[cell])
            told = [
                f"{name} "
                + ", ".join(
                    f"{percent(*bars[cell][name])} {cell}" for cell in CELLS if name in bars[cell]
                )
                for name in columns
            ]
            if told:
                sentences.append(f"{title}: {'; '.join(told)}.")
        return " ".join(sentences)

    def checks(self, rows: Mapping[str, Row]) -> list[Check]:
        """The network loses by permutation, the rules do not."""
        lost: dict[str, Difference] = {}
        checks = []
        for title in self._settings.datasets:
            bars = self._bars(title, rows)
            if all(NETWORK in bars[cell] for cell in ("intact", "permuted")):
                intact, permuted = (
                    Row("", [0], {"ridge": row.accuracy[cell][-1:]})
                    for cell in ("intact", "permuted")
                    for row, _ in [bars[cell][NETWORK]]
                )
                lost[title] = difference(intact, permuted)
        if lost:
            checks.append(every(f"the {NETWORK} loses accuracy by permuted inputs", lost))
        for rule in self._context.rules:
            gaps = {
                title: difference(rows[after], rows[before])
                for title in self._settings.datasets
                if (after := f"{title}, {rule}, permuted") in rows
                and (before := f"{title}, {rule}, intact") in rows
            }
            if gaps:
                checks.append(
                    Check(
                        f"`{rule}` is the same on both, to 2 points",
                        all(abs(gap.mean) <= 2 for gap in gaps.values()),
                        "; ".join(f"permuted above intact by {g} ({t})" for t, g in gaps.items()),
                    )
                )
        return checks


def _order(permuted: bool) -> str:
    return "permuted" if permuted else "intact"


def _training_classes(data: HeldOutData, name: str) -> Classes:
    """Unlabelled rows with their classes, which episodes of training may know.

    Raises:
        InvalidInput: when the classes are not known.
    """
    if data.unlabelled_classes is None:
        raise InvalidInput(f"prototypes: dataset {name}: its entry must have all classes")
    return Classes(data.unlabelled, data.unlabelled_classes, data.scale)


def _by_mean(support: Tensor, query: Tensor, draws: Draws) -> Tensor:
    """Accuracy (T,) of the nearest class mean; support and query are sorted by class."""
    classes = int(draws.support_labels.max()) + 1
    apart = (u.unflatten(1, (classes, -1)) for u in (support, query))
    guess = nearest_mean(*apart).argmax(-1).cpu()
    return (guess == draws.query_labels).double().mean(-1)


def panels(settings: PrototypesSettings, context: Context) -> Sequence[Panel[Row]]:
    """The panel."""
    return [Prototypes(settings, context)]
