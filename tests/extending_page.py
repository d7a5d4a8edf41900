"""The files and commands of docs/extending.md, to run as they are."""

import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import lit_lul, metrics

from lit_lul.learners import LEARNERS

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.M | re.S))
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.split("\n")
    if line
]
SMALLER = [
    "--trainer.max_steps=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.val_check_interval=1.0",
    "--data.sizes.tasks=3",
    "--data.sizes.batch_size=8",
    "--data.sizes.labels_per_class=2",
    "--data.sizes.draws=1",
    "--data.validation_cohorts=1",
    "--data.validation_steps=1",
]
SMALLER_CURVE = [
    "--held_out.digits.inner_steps=2",
    "--held_out.digits.points=1",
    "--held_out.digits.batch_size=8",
    "--held_out.digits.draws=2",
]


def write_files(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with every file of the page, importable as `python -m` has it."""
    for name, text in FILES.items():
        (run_folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(run_folder))
    learners = dict(LEARNERS)
    yield run_folder
    LEARNERS.clear()
    LEARNERS.update(learners)
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def run(command: str, *options: str) -> None:
    """Run a command of the page in this process."""
    assert command in COMMANDS
    python, *words = shlex.split(command)
    assert python == "python"
    if words[:2] == ["-m", "lit_lul"]:
        lit_lul(*words[2:], *SMALLER, *options)
    else:
        runpy.run_path(words[0], run_name="__main__")


def fit(name: str, *options: str) -> Path:
    """Run the page's fit of a configuration, with smaller steps; where it writes."""
    command = next(line for line in COMMANDS if f"--config {name}" in line)
    run(command, *options)
    return max(Path("runs/quickstart").iterdir(), key=lambda path: int(path.name[8:]))


def training_rows(folder: Path) -> list[dict[str, float]]:
    """What was logged at every outer step."""
    rows = [row for row in metrics(folder) if "train/meta_loss" in row]
    return [{name: float(value) for name, value in row.items()} for row in rows]


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[None]:
    """A list that gets an item at every call of a method."""
    calls: list[None] = []
    method: Callable[..., Any] = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls
