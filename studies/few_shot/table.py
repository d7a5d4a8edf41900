"""The command `report few_shot`: a table of few-shot methods on some sources of episodes."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_rule
from lit_lul.learners.learner import Learner
from lit_lul.objectives.objective import Labelled
from lit_lul.report.page_path import page_path
from lit_lul.report.stored_rows import Row, RowFile, digest, rule_key
from lit_lul.report.time_left import time_left
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.label_free import by_content
from studies.few_shot import methods
from studies.few_shot.config import StudyConfig, StudySource, load_config
from studies.few_shot.episodes import episodes, load_classes
from studies.few_shot.methods import Method
from studies.few_shot.runs import load_run
from studies.few_shot.table_page import (
    CENTROID,
    PROBE,
    SCRATCH,
    Line,
    TablePage,
    column,
    write_table,
)

TEST, TUNING = 600, 601
"""Seeds of test episodes, and of those that choices are made on."""


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
    out = page_path(out, quick)
    studies = load_config(config, quick)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    command = ["python", "-m", "lit_lul", "report", "few_shot"]
    command += ["--config", str(config), "--out", str(out), *["--quick"] * quick]
    lines: dict[str, list[Line]] = {}
    missing: list[str] = []

    def leave_out(name: str, error: InvalidInput) -> None:
        missing.append(f"{name} is left out: {error}")
        console.print(missing[-1])

    for name, source in studies.sources.items():
        try:
            table = SourceTable(name, source, studies, out.with_suffix(""))
        except InvalidInput as error:
            leave_out(name, error)
        else:
            lines[name] = table.measure(console, leave_out)
        write_table(TablePage(shlex.join(command), studies, lines, missing), out)
    if not lines:
        raise InvalidInput(f"{config}: no source can be loaded")
    console.print(f"table in {out}")


@dataclass(frozen=True)
class Entry:
    """A row to be measured."""

    name: str
    key: object
    """What its numbers depend on besides the episodes, in JSON values."""
    make: Callable[[], Method]
    """Prepares the method; not called if the row is stored."""
    labels: str = "0"
    """Labelled images that its meta-training used."""
    compute: str = "none"
    """Of its meta-training."""


class SourceTable:
    """The rows of one source, and the file that stores them between runs.

    Args:
        name: its name.
        source: its settings.
        studies: sizes and numbers of episodes.
        folder: where the file is.

    Raises:
        InvalidInput: when the data cannot be loaded, or the file is not such a file.
    """

    def __init__(self, name: str, source: StudySource, studies: StudyConfig, folder: Path) -> None:
        self.name, self.source, self.studies = name, source, studies
        self.training, self.test = load_classes(name, source, studies)
        self.file = RowFile(name, folder / f"{name}.json", Row)
        self._protocol = [*studies.describe(), str(source.tasks)]

    def measure(
        self, console: Console, leave_out: Callable[[str, InvalidInput], None]
    ) -> list[Line]:
        """Measure all rows that are missing; all rows in the order of the page.

        Args:
            console: gets a line for every row that is measured.
            leave_out: called for every run that cannot be loaded.
        """
        entries = [*self._baselines(), *self._rules(), *self._runs(leave_out)]
        keys = {entry.name: digest([self._protocol, entry.key]) for entry in entries}
        tell = time_left(sum(not self.file.has(name, keys[name]) for name in keys), console)
        for entry in entries:
            if not self.file.has(entry.name, keys[entry.name]):
                row = self._row(keys[entry.name], entry.make())
                self.file.keep(entry.name, row, self._protocol)
                tell(f"{self.name}: {entry.name}", 1)
        rows = self.file.select(keys)
        assert rows is not None, "all were measured"
        return [
            Line(entry.name, entry.labels, entry.compute, rows[entry.name]) for entry in entries
        ]

    def _baselines(self) -> list[Entry]:
        source = self.source
        scratch = [str(source.network), str(self.studies.scratch), self.studies.tuning_episodes]
        return [
            Entry(SCRATCH, scratch, self._scratch),
            Entry(CENTROID, CENTROID, lambda: methods.centroid),
            Entry(PROBE, [PROBE, str(source.clusters)], self._probe),
        ]

    def _rules(self) -> list[Entry]:
        entries = []
        for name, note in self.source.rules.items():
            rule = load_rule(name)
            key = rule_key("ridge", "float32", rule)
            make = partial(self._ridge_of, rule)
            entries.append(Entry(f"{name} + ridge", key, make, note.labels, note.compute))
        return entries

    def _runs(self, leave_out: Callable[[str, InvalidInput], None]) -> list[Entry]:
        entries = []
        for name, folder in self.source.runs.items():
            try:
                run = load_run(Path(folder), self.studies.data_root)
            except InvalidInput as error:
                leave_out(f"{self.name}, {name}", error)
                continue
            key = rule_key(run.inner_steps, "float32", run.learner)
            make = partial(partial, methods.learned, run)  # makes the method, on a call
            labels, compute = f"{run.labels:,}", f"{run.episodes:,} episodes"
            entries.append(Entry(name, key, make, labels, compute))
        return entries

    def _row(self, key: str, method: Method) -> Row:
        accuracy = {}
        for shots in self.studies.shots:
            with torch.no_grad():
                found = [method(labelled) for labelled in self._episodes(self.test, shots)]
            accuracy[column(shots)] = [[round(a, 4) for a in torch.cat(found).tolist()]]
        return Row(key, [0], accuracy)

    def _episodes(self, tasks: ClassTasks, shots: int) -> Iterator[Labelled]:
        """Test episodes, or those of training classes."""
        testing = tasks is self.test
        count = self.studies.episodes if testing else self.studies.tuning_episodes
        return episodes(tasks, shots, self.studies.queries, count, TEST if testing else TUNING)

    def _scratch(self) -> Method:
        network, choices = self.source.network, self.studies.scratch
        tuned = {
            shots: methods.tune(network, choices, self._episodes(self.training, shots))
            for shots in self.studies.shots
        }

        def accuracy(labelled: Labelled) -> torch.Tensor:
            shots = labelled.support_x.shape[2] // labelled.is_class.shape[1]
            return methods.train_from_scratch(network, *tuned[shots], labelled)

        return accuracy

    def _probe(self) -> Method:
        images = by_content(self.training.images, self.training.pool)
        return methods.ridge(methods.embedding_of_clusters(self.source.clusters, images))

    def _ridge_of(self, rule: Learner) -> Method:
        images = by_content(self.training.images, self.training.pool)
        return methods.ridge(methods.embedding_of_rule(rule, images))
