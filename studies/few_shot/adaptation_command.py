"""The command `report adaptation`: what adapting to an episode changes in a network."""

import shlex
from pathlib import Path

from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.report.page_path import page_path
from lit_lul.report.stored_rows import Row, RowFile, digest, rule_key
from lit_lul.report.time_left import time_left
from studies.few_shot.adaptation import measure, rates_of
from studies.few_shot.adaptation_page import AdaptationPage, SourceStudy, write_adaptation
from studies.few_shot.config import StudyConfig, StudySource, load_config
from studies.few_shot.episodes import episodes, load_classes
from studies.few_shot.runs import Run, load_run
from studies.few_shot.table import TEST


def adaptation(
    config: Path = Path("configs/few_shot.yaml"),
    out: Path = Path("docs/few_shot_studies.md"),
    quick: bool = False,
) -> None:
    """Measure what adapting to an episode changes: features, layers, and the learned rates.

    Nothing is meta-trained: learners are those of finished runs, which the configuration names
    under `adaptation`. Rows are stored beside the page as by `report few_shot`.

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
    command = ["python", "-m", "lit_lul", "report", "adaptation"]
    command += ["--config", str(config), "--out", str(out), *["--quick"] * quick]
    sources: dict[str, SourceStudy] = {}
    missing: list[str] = []
    for name, source in studies.sources.items():
        path = out.with_suffix("") / f"{name}.json"
        try:
            if runs := _runs(name, source, studies, missing, console):
                sources[name] = _study(name, source, runs, studies, path, console)
        except InvalidInput as error:
            missing.append(f"{name} is left out: {error}")
            console.print(missing[-1])
        shots = studies.shots[-1]
        page = AdaptationPage(shlex.join(command), studies, shots, sources, missing)
        write_adaptation(page, out)
    if not sources:
        raise InvalidInput(f"{config}: no run can be measured")
    console.print(f"studies in {out}")


def _runs(
    name: str,
    source: StudySource,
    studies: StudyConfig,
    missing: list[str],
    console: Console,
) -> dict[str, Run]:
    """The runs that can be loaded."""
    runs = {}
    for run in source.adaptation:
        try:
            if run not in source.runs:
                raise InvalidInput(f"adaptation: expected some of {', '.join(source.runs)}")
            runs[run] = load_run(Path(source.runs[run]), studies.data_root)
        except InvalidInput as error:
            missing.append(f"{name}, {run} is left out: {error}")
            console.print(missing[-1])
    return runs


def _study(
    name: str,
    source: StudySource,
    runs: dict[str, Run],
    studies: StudyConfig,
    path: Path,
    console: Console,
) -> SourceStudy:
    """Measure the rows that are not stored."""
    _, test = load_classes(name, source, studies)
    file, shots = RowFile(name, path, Row), studies.shots[-1]
    protocol = [*studies.describe(), str(source.tasks)]
    keys = {
        run: digest([protocol, rule_key(loaded.inner_steps, "float32", loaded.learner)])
        for run, loaded in runs.items()
    }
    tell = time_left(sum(not file.has(run, key) for run, key in keys.items()), console)
    for run, key in keys.items():
        if not file.has(run, key):
            given = episodes(test, shots, studies.queries, studies.episodes, TEST)
            file.keep(run, measure(runs[run], key, given), protocol)
            tell(f"{name}: {run}", 1)
    rows = file.select(keys)
    assert rows is not None, "all were measured"
    rates = {run: found for run, loaded in runs.items() if (found := rates_of(loaded.learner))}
    return SourceStudy(rows, rates)
