"""The commands `report few_shot` and `report adaptation`, which write one page.

The first measures few-shot methods on the same test episodes, the second what adapting changes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.objectives.objective import Labelled
from lit_lul.report.page import ERRORS, Block, Cell, Check, Page, Picture, Table, difference
from lit_lul.report.plots import bars
from lit_lul.report.rows import Row, digest, rule_key
from lit_lul.report.study import Measurement, Part, Study, load_rules, page_path, spell
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.label_free import by_content
from studies.checks import over_draws
from studies.few_shot import methods
from studies.few_shot.adaptation import (
    BEFORE,
    LAYER,
    OFF_TASK,
    ON_TASK,
    WITH_HEAD,
    LayerRates,
    measure,
    rates_of,
)
from studies.few_shot.config import RuleNote, StudyConfig, StudySource, load_studies
from studies.few_shot.methods import Method, episodes
from studies.few_shot.runs import Run, load_run

TEST, TUNING = 600, 601
"""Seeds of test episodes, and of those that choices are made on."""
SCRATCH, CENTROID, PROBE = "from scratch", "nearest centroid", "probe of the clusters' embedding"
"""Names of the methods without meta-training."""
MAML, META_SGD = "MAML", "Meta-SGD"
"""Names of the runs that the claims are about."""
CLAIMS = (
    ("blog: off-task accuracy rises for Meta-SGD", META_SGD, OFF_TASK, True),
    ("blog: off-task accuracy falls for MAML", MAML, OFF_TASK, False),
    ("blog: on-task accuracy falls for Meta-SGD", META_SGD, ON_TASK, False),
    ("blog: on-task accuracy falls for MAML", MAML, ON_TASK, False),
    ("later paper: on-task accuracy rises for MAML", MAML, ON_TASK, True),
)
"""Claim, run, what is compared with the features before adapting, and whether it rises."""


@dataclass
class Episodes:
    """What is known of one source, loaded when it is used."""

    name: str
    source: StudySource
    studies: StudyConfig

    @cached_property
    def classes(self) -> tuple[ClassTasks, ClassTasks]:
        """The tasks of training and of test classes, with their labels."""
        training, test = self.source.tasks.load(self.name, self.studies.data_root)
        if type(training) is not ClassTasks or type(test) is not ClassTasks:
            raise InvalidInput(
                f"{self.name}: expected images with labels, and classes kept for validation"
            )
        return training, test

    @cached_property
    def runs(self) -> dict[str, Run | InvalidInput]:
        """The runs, or why they cannot be loaded."""
        found: dict[str, Run | InvalidInput] = {}
        for name, folder in self.source.runs.items():
            try:
                found[name] = load_run(Path(folder), self.studies.data_root)
            except InvalidInput as error:
                found[name] = error
        return found

    @cached_property
    def images(self) -> Tensor:
        """Unlabelled images of training, (n, channels, side, side)."""
        training, _ = self.classes
        return by_content(training.images, training.pool)

    def test(self, shots: int) -> Iterator[Labelled]:
        """Test episodes."""
        return episodes(self.classes[1], shots, self.studies.queries, self.studies.episodes, TEST)

    def describe(self) -> list[object]:
        """What all test episodes depend on, as JSON values."""
        return [*self.studies.describe(), str(self.source.tasks)]


class Entry(NamedTuple):
    """A method of the table."""

    key: object
    """What its numbers depend on besides the episodes, in JSON values."""
    make: Callable[[], Method]
    """Prepares the method; raises `InvalidInput` when it cannot."""
    note: RuleNote
    """What its meta-training used."""


@dataclass
class Methods(Part[Row]):
    """Accuracy of every method on one source."""

    given: Episodes
    kind = Row

    def __post_init__(self) -> None:
        self.name = self.given.name

    def protocol(self) -> object:
        """What the episodes depend on."""
        return self.given.describe()

    def measurements(self) -> list[Measurement[Row]]:
        """Baselines, rules and runs."""
        keys = {name: digest([self.protocol(), one.key]) for name, one in self.entries.items()}
        return [Measurement(n, key, 1.0, partial(self._measure, n, key)) for n, key in keys.items()]

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """All methods, in the order of the page."""
        source, studies, nothing = self.given.source, self.given.studies, RuleNote("0", "none")
        scratch = [str(source.network), str(studies.scratch), studies.tuning_episodes]
        clusters = [PROBE, str(source.clusters)]
        entries = {
            SCRATCH: Entry(scratch, self._scratch, nothing),
            CENTROID: Entry(CENTROID, lambda: methods.centroid, nothing),
            PROBE: Entry(
                clusters,
                partial(self._ridge_of, methods.embedding_of_clusters, source.clusters),
                nothing,
            ),
        }
        for name, rule in load_rules([*source.rules]).items():
            key = rule_key("ridge", "float32", rule)
            note = source.rules.get(name, nothing)
            make = partial(self._ridge_of, methods.embedding_of_rule, rule)
            entries[f"{name} + ridge"] = Entry(key, make, note)
        for name, run in self.given.runs.items():
            if isinstance(run, InvalidInput):
                entries[name] = Entry(None, partial(_fail, run), nothing)
                continue
            key = rule_key(run.inner_steps, "float32", run.learner)
            note = RuleNote(f"{run.labels:,}", f"{run.episodes:,} episodes")
            entries[name] = Entry(key, partial(partial, methods.learned, run), note)
        return entries

    def _measure(self, name: str, key: str) -> Row:
        method, given = self.entries[name].make(), self.given
        with torch.no_grad():
            found = {column(k): [*map(method, given.test(k))] for k in given.studies.shots}
        return methods.row_of(key, found)

    def _scratch(self) -> Method:
        network, studies = self.given.source.network, self.given.studies
        training, tuned = self.given.classes[0], {}
        for shots in studies.shots:
            given = episodes(training, shots, studies.queries, studies.tuning_episodes, TUNING)
            tuned[shots] = methods.tune(network, studies.scratch, given)

        def accuracy(labelled: Labelled) -> Tensor:
            shots = labelled.support_x.shape[2] // labelled.is_class.shape[1]
            rate, steps = tuned[shots]
            return methods.descend(network, rate, [steps], labelled)[0]

        return accuracy

    def _ridge_of(self, embedding: Callable[[Any, Tensor], methods.Features], own: Any) -> Method:
        return methods.ridge(embedding(own, self.given.images))


@dataclass
class Adapting(Part[Row]):
    """What adapting changes in some runs on one source."""

    given: Episodes
    kind = Row

    def __post_init__(self) -> None:
        self.name = f"{self.given.name}_adaptation"

    def protocol(self) -> object:
        """What the episodes depend on."""
        return self.given.describe()

    def measurements(self) -> list[Measurement[Row]]:
        """One for each run."""
        source, shots, found = self.given.source, self.given.studies.shots[-1], []
        for name in source.adaptation:
            if name not in source.runs:
                raise InvalidInput(f"adaptation: expected some of {', '.join(source.runs)}")
            run = self.given.runs[name]
            if isinstance(run, InvalidInput):
                found.append(Measurement(name, "", 1.0, partial(_fail, run)))
                continue
            own = rule_key(run.inner_steps, "float32", run.learner)
            key = digest([self.protocol(), own])
            of_run = partial(self._measure, run, key, shots)
            found.append(Measurement(name, key, 1.0, of_run))
        return found

    def _measure(self, run: Run, key: str, shots: int) -> Row:
        return measure(run, key, self.given.test(shots))

    def rates(self) -> dict[str, list[LayerRates]]:
        """The learned rates of the runs that have them."""
        runs = {name: self.given.runs.get(name) for name in self.given.source.adaptation}
        found = {n: rates_of(run.learner) for n, run in runs.items() if isinstance(run, Run)}
        return {name: rates for name, rates in found.items() if rates}


def _fail(error: InvalidInput) -> NoReturn:
    raise error


def few_shot(
    config: Path = Path("configs/few_shot.yaml"),
    out: Path = Path("docs/few_shot_table.md"),
    quick: bool = False,
) -> None:
    """Measure few-shot methods on the same episodes, and write a table.

    Nothing is meta-trained: learners are those of finished runs, which the configuration names.
    Beside the page a folder of its name gets a JSON file per source, with the accuracy of every
    episode. What is in these files is not measured again while it depends on the same settings and
    θ, so an interrupted run resumes.

    Args:
        config: the configuration of the studies.
        out: the page, a markdown file.
        quick: few episodes, in files of their own, to see that everything works.

    Raises:
        InvalidInput: for an invalid option or file.
    """
    _report(Methods, config, out, quick)


def adaptation(
    config: Path = Path("configs/few_shot.yaml"),
    out: Path = Path("docs/few_shot_table.md"),
    quick: bool = False,
) -> None:
    """Measure what adapting to an episode changes: features, layers, and the learned rates.

    Nothing is meta-trained: learners are those of finished runs, which the configuration names
    under `adaptation`. The page is that of `report few_shot`, and rows are stored in the same way.

    Args:
        config: the configuration of the studies.
        out: the page, a markdown file.
        quick: few episodes, in files of their own, to see that everything works.

    Raises:
        InvalidInput: for an invalid option or file.
    """
    _report(Adapting, config, out, quick)


def _report(measured: type[Methods | Adapting], config: Path, out: Path, quick: bool) -> None:
    out = page_path(out, quick)
    studies = load_studies(config, quick)
    every = [Episodes(name, source, studies) for name, source in studies.sources.items()]
    parts = [kind(given) for kind in (Methods, Adapting) for given in every]
    command = "\n".join(
        spell(name, config=config, out=out, quick=quick) for name in ("few_shot", "adaptation")
    )
    page = partial(few_shot_page, command, studies, parts)
    chosen = [part.name for part in parts if isinstance(part, measured)]
    Study("few_shot", parts, page).run(out, chosen)


def few_shot_page(
    command: str,
    studies: StudyConfig,
    parts: Sequence[Methods | Adapting],
    rows: Mapping[str, Mapping[str, Row]],
) -> Page:
    """The page: for each source a table of methods, and what adapting changes."""
    sections: dict[str, list[Block]] = {}
    found = []
    shots = column(studies.shots[-1])
    for part in parts:
        of_part = rows.get(part.name, {})
        if not of_part:
            continue
        if isinstance(part, Methods):
            notes = {name: entry.note for name, entry in part.entries.items()}
            sections[part.name] = [accuracy_table(of_part, notes, studies.shots)]
            means = {name: interval(row, shots)[0] for name, row in of_part.items()}
            best = max(means, key=lambda name: means[name])
            beside = f" beside {means[SCRATCH]:.1%} {SCRATCH}" if SCRATCH in means else ""
            found.append(f"on {part.name} {best} is best with {means[best]:.1%}{beside}")
        else:
            heading = f"What adapting changes: {part.given.name}"
            sections[heading] = adaptation_blocks(part.name, of_part, part.rates())
    return Page(
        "Few-shot learners",
        f"{shots} accuracy: {'; '.join(found)}." if found else "Nothing is measured.",
        command,
        sections=sections,
        method=METHOD.format(studies=studies, shots=shots),
    )


def column(shots: int) -> str:
    """The name of the accuracies with a number of shots."""
    return f"{shots}-shot"


def accuracy_table(
    rows: Mapping[str, Row], notes: Mapping[str, RuleNote], shots: Sequence[int]
) -> Table:
    """Accuracy of methods, points above two baselines, and what meta-training used."""
    others = {"scratch": SCRATCH, "the probe": PROBE}
    names = [column(k) for k in shots]
    cells: dict[str, list[Cell]] = {}
    for method, row in rows.items():
        own: list[Cell] = [interval(row, name)[0] for name in names]
        for baseline in others.values():
            for name in names:
                known = baseline in rows and method != baseline
                gained = difference(row, rows[baseline], name).mean if known else None
                own.append(None if gained is None else f"{gained:+.1f}")
        cells[method] = [*own, notes[method].labels, notes[method].compute]
    above = [f"above {short}, {name}" for short in others for name in names]
    columns = [*names, *above, "labels in meta-training", "meta-training"]
    return Table(columns, {"": cells}, mean=False)


def adaptation_blocks(
    name: str, rows: Mapping[str, Row], rates: Mapping[str, Sequence[LayerRates]]
) -> list[Block]:
    """Features before and after, claims, and learned rates."""
    layers = sorted({n for row in rows.values() for n in row.accuracy if n.startswith(LAYER)})
    measures = (BEFORE, ON_TASK, OFF_TASK, WITH_HEAD)
    cells: dict[str, list[Cell]] = {
        run: [interval(row, measure)[0] for measure in measures]
        + [f"{interval(row, n)[0]:.2f}" if n in row.accuracy else None for n in layers]
        for run, row in rows.items()
    }
    panels = {m: {run: interval(row, m) for run, row in rows.items()} for m in measures[:3]}
    caption = "Nearest neighbour on features below the head"
    picture = Picture(name, bars(panels, "accuracy"), caption)
    table = Table([*measures, *(f"CKA, {n}" for n in layers)], {"": cells}, mean=False)
    blocks: list[Block] = [picture, table, *checks(rows, rates)]
    if rates:
        columns = [layer.name for layer in next(iter(rates.values()))]
        forms = {"mean rate": "{.mean:+.3f}", "below 0": "{.negative:.0%}", "at 0": "{.zero:.0%}"}
        shown = {
            what: {run: [form.format(layer) for layer in of_run] for run, of_run in rates.items()}
            for what, form in forms.items()
        }
        blocks += ["### Learned rates", Table(columns, shown, best="", mean=False)]
    return blocks


def checks(rows: Mapping[str, Row], rates: Mapping[str, Sequence[LayerRates]]) -> list[Check]:
    """The claims, and whether they hold; a claim about a run that is missing is left out."""
    found = []
    for claim, name, measured, rises in CLAIMS:
        if name in rows:
            after, before = (rows[name].draws(which)[0] for which in (measured, BEFORE))
            change = over_draws(100 * (after - before))
            held = None if change.held is None else change.held == rises
            found.append(Check(claim, str(change), held))
    if META_SGD in rates:
        *below, top = (la.mean for la in rates[META_SGD] if "weights" in la.name)
        means = ", ".join(f"{mean:+.3f}" for mean in (*below, top))
        claim = "blog: the mean learned rate is negative in every layer but the output"
        found.append(Check(claim, f"weights' means {means}", max(below) < 0 < top))
    return found


def interval(row: Row, name: str) -> tuple[float, float, float]:
    """Mean over the episodes, and the bounds `ERRORS` standard errors from it."""
    curve = row.curve(name)
    mean, half = curve.mean[0], ERRORS * curve.standard_error[0]
    return mean, mean - half, mean + half


METHOD = """All methods are measured on the same {studies.episodes} test episodes of classes that
training does not see, with {studies.queries} queries per class. Intervals are over episodes: there
is one seed of meta-training for each learner. Runs, networks and rules are those of the
configuration. The accuracy of every episode is in the JSON files.

- *From scratch*: the network of the learners, which is what they are before meta-training, from a
  random initialisation by gradient descent on the labels of the episode; rate and number of steps
  are the best on {studies.tuning_episodes} episodes of training classes.
- *Nearest centroid*: the nearest class mean of raw inputs. *Probe of the clusters' embedding*:
  ridge regression on the embedding that CACTUs clusters, fitted to unlabelled training images.
- *Rule + ridge*: a network that the rule trains on unlabelled training images, then ridge
  regression on its embedding. These rules were meta-trained on other and more tasks. *Initial θ* is
  a rule before meta-training.
- CACTUs, UMTRA and AAL are MAML on tasks without labels: clusters, single images and their
  augmented copies, random labels of unrelated images.

What adapting changes is measured on the {shots} episodes, on the layer below the head. Every query
gets the class of the nearest support example: *before* adapting, after adapting to the tested
episode (*on-task*), and after adapting to another one (*off-task*), whose classes are drawn
independently. *CKA* is that of a layer's activations before and after adapting to the episode, 1 if
they are the same up to rotation and scale; the last layer is the head. *Learned rates* are the
inner rates of Meta-SGD, one for every parameter; in *Meta-SGD, clamped* rates below zero count as
zero, in training too. Claims are those of the blog post "Negative Learning Rates in Deep Learning
Learn Universal Features", and of its author's later paper (arXiv 2203.10185); a change counts
beyond two standard errors."""
