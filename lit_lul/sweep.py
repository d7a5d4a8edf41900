"""The command `sweep`: run a sweep in W&B's format on this machine, without an account."""

import csv
import hashlib
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import not_written, replace_file

FINISHED = "run.json"
OUTPUT = "output.txt"
LOGGER = "lit_lul.training.loggers.RunCSVLogger"
LONGEST_NAME = 40
SEED = 0
"""Determines the draws of a random sweep."""


@dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    folder: Path
    """It gets the output, the run's own folder, and `run.json` when it has finished."""
    command: list[str]
    values: dict[str, Any]
    """What the sweep sets, by option."""

    @property
    def finished(self) -> bool:
        """Whether this very command has run to its end."""
        path = self.folder / FINISHED
        return path.is_file() and json.loads(path.read_text())["command"] == self.command[1:]


def sweep(file: Path, out: Path = Path("runs/sweep")) -> None:
    """Run a sweep of the methods grid or random, one run after another.

    Runs that have finished are not run again, so that an interrupted sweep continues. Settings of
    the logger are replaced: runs write to `out` alone.

    Args:
        file: a sweep, such as those in sweeps/.
        out: a folder for the runs; each has its values and last metrics in `run.json`.

    Raises:
        InvalidInput: when the file is not such a sweep, or when runs failed.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    content = read_sweep(file)
    runs = list(make_runs(file, content, out))
    left = [run for run in runs if not run.finished]
    console.print(f"{len(runs)} runs, {len(runs) - len(left)} finished before")
    name = str((content.get("metric") or {}).get("name"))
    failed, start = [], time.monotonic()
    for done, run in enumerate(left, 1):
        found = _finish(run)
        if found is None:
            failed.append(run)
        result = "failed" if found is None else "finished"
        if found is not None and name in found:
            result = f"{name} {found[name]:.3f}"
        ahead = (time.monotonic() - start) / done * (len(left) - done) / 60
        console.print(f"{run.folder.name}: {result}, about {ahead:.0f} minutes left")
    if failed:
        outputs = ", ".join(str(run.folder / OUTPUT) for run in failed)
        raise InvalidInput(f"{len(failed)} of {len(runs)} runs failed: {outputs}")


def read_sweep(file: Path) -> dict[str, Any]:
    """A sweep that can run here."""
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInput(f"{file}: expected a sweep ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{file}: expected a sweep with a command, a method and parameters")
    for key, kind in {"command": list, "method": str, "parameters": dict}.items():
        if not isinstance(content.get(key), kind):
            raise InvalidInput(f"{file}: expected a sweep with a {key}")
    if content["method"] not in ("grid", "random"):
        raise InvalidInput(
            f"{file}: method {content['method']}: expected grid or random; others need W&B's agent"
        )
    return content


def make_runs(file: Path, content: Mapping[str, Any], out: Path) -> Iterator[Run]:
    """All runs of a sweep: of a grid the last parameter varies fastest."""
    parameters = content["parameters"]
    if content["method"] == "grid":
        lists = [_values(file, name, p) for name, p in parameters.items()]
        draws = [dict(zip(parameters, values, strict=True)) for values in itertools.product(*lists)]
    else:
        if not isinstance(content.get("run_cap"), int):
            raise InvalidInput(f"{file}: expected run_cap, the number of random runs")
        rng = np.random.default_rng(SEED)
        draws = [
            {name: _draw(file, name, p, rng) for name, p in parameters.items()}
            for _ in range(content["run_cap"])
        ]
    for number, values in enumerate(draws):
        folder = out / f"{number:03}-{_short(values)}"
        yield Run(folder, _command(content["command"], values, folder), values)


def _values(file: Path, name: str, parameter: Mapping[str, Any]) -> list[Any]:
    """The values of a parameter that has a list of them, or one."""
    if "value" in parameter:
        return [parameter["value"]]
    if isinstance(parameter.get("values"), list):
        return list(parameter["values"])
    raise InvalidInput(f"{file}: parameter {name}: expected a list of values")


def _draw(file: Path, name: str, parameter: Mapping[str, Any], rng: np.random.Generator) -> Any:
    kind = parameter.get("distribution", "values")
    if kind in ("uniform", "log_uniform_values"):
        try:
            low, high = float(parameter["min"]), float(parameter["max"])
            if kind == "uniform":
                return float(rng.uniform(low, high))
            return math.exp(rng.uniform(math.log(low), math.log(high)))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"{file}: parameter {name}: expected min and max") from error
    if kind != "values":
        raise InvalidInput(
            f"{file}: parameter {name}: distribution {kind}: expected uniform, "
            "log_uniform_values or a list of values"
        )
    values = _values(file, name, parameter)
    return values[int(rng.integers(len(values)))]


def _command(words: list[str], values: Mapping[str, Any], folder: Path) -> list[str]:
    """The words of a sweep's command, with W&B's macros replaced and the logger set."""
    macros = {
        "${env}": [],
        "${interpreter}": [sys.executable],
        "${args}": [f"--{name}={_text(value)}" for name, value in values.items()],
    }
    logger = {"save_dir": str(folder.parent), "name": folder.name}
    logger_option = f"--trainer.logger={_text([{'class_path': LOGGER, 'init_args': logger}])}"
    return [*(w for word in words for w in macros.get(word, [word])), logger_option]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short(values: Mapping[str, Any]) -> str:
    """A name for values: words and numbers as they are, other values by a hash."""
    text = "-".join(
        Path(value).stem if isinstance(value, str) else _text(value) for value in values.values()
    )
    if len(text) <= LONGEST_NAME and all(c.isalnum() or c in "-_." for c in text):
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _finish(run: Run) -> dict[str, float] | None:
    """Run to the end: the last value of every metric, None if the run failed."""
    with not_written(run.folder):
        run.folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with (run.folder / OUTPUT).open("w") as output:
        ended = subprocess.run(run.command, stdout=output, stderr=output, check=False)
    logs = sorted(run.folder.glob("version_*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    if ended.returncode or not logs:
        return None
    metrics: dict[str, float] = {}
    with logs[-1].open(newline="") as file:
        for row in csv.DictReader(file):
            metrics |= {name: float(value) for name, value in row.items() if value}
    content = {
        "command": run.command[1:],
        "values": run.values,
        "folder": logs[-1].parent.name,
        "seconds": round(time.monotonic() - start, 1),
        "metrics": metrics,
    }
    with replace_file(run.folder / FINISHED) as temporary:
        temporary.write_text(json.dumps(content, indent=1))
    return metrics
