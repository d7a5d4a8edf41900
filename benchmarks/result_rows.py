"""Rows of the report on learners: measurements on a dataset, and the file that stores them."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import (
    BASELINES,
    CENTROIDS,
    COMPONENTS,
    RANDOM_NETWORK,
    measure_baselines,
)
from lit_lul.evaluation.curve import Curve, roll_out_draws
from lit_lul.evaluation.held_out import HeldOut, describe
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.files.atomic import replace_file
from lit_lul.files.theta import described
from lit_lul.learners.learner import Learner
from lit_lul.objectives.few_shot_ridge import FewShotRidge

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Row:
    """Few-shot accuracy of one baseline or rule on one dataset.

    Attributes:
        key: hash of everything that the numbers depend on, except the dataset's content.
        steps: inner steps; only 0 for a baseline.
        accuracy: accuracy by probe, for each step and draw; 0 to 1.
    """

    key: str
    steps: list[int]
    accuracy: dict[str, list[list[float]]]

    def curve(self, probe: str) -> Curve:
        """Means and standard errors over the draws."""
        return Curve.of(tuple(self.steps), self.draws(probe))

    def draws(self, probe: str) -> Tensor:
        """(steps, draws), float64."""
        return torch.tensor(self.accuracy[probe], dtype=torch.float64)

    def at_start(self) -> "Row":
        """The row with only its first step: the network at random initialisation."""
        return Row(self.key, self.steps[:1], {p: a[:1] for p, a in self.accuracy.items()})


@dataclass
class Dataset:
    """One dataset's rows, and the file that stores them between runs.

    Args:
        name: name of the dataset.
        held_out: its entry of the configuration.
        ridge: the ridge probe.
        embedding_units: E of the random network.
        precision: precision of the hidden states, a key of `PRECISIONS`.
        file: JSON file, rewritten after every measurement.
        data_root: folder that is searched for the data first.

    Raises:
        InvalidInput: when the file exists and is not such a file.
    """

    name: str
    held_out: HeldOut
    ridge: FewShotRidge
    embedding_units: int
    precision: str
    file: Path
    data_root: str | None
    _rows: dict[str, Row] = field(init=False, default_factory=dict)
    _data: HeldOutData | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not self.file.exists():
            return
        try:
            rows = json.loads(self.file.read_text())["rows"]
            self._rows = {name: Row(**row) for name, row in rows.items()}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidInput(f"{self.file}: expected rows of {self.name}; remove it") from error

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that a rule's numbers depend on, except θ."""
        return {"held_out": self.held_out.describe(), "ridge": describe(self.ridge)}

    def rows(self, rules: Mapping[str, Learner]) -> dict[str, Row] | None:
        """Baselines' and rules' rows by name; None if one is missing or has another key."""
        keys = self._baseline_keys() | {name: self._key_of(rule) for name, rule in rules.items()}
        current = {n: self._rows[n] for n, key in keys.items() if self._has(n, key)}
        return current if len(current) == len(keys) else None

    def measure(self, rules: Mapping[str, Learner], console: Console) -> None:
        """Measure rows that are missing or have another key, and print the progress.

        Raises:
            InvalidInput: when the data are missing or the file cannot be written.
        """
        keys = self._baseline_keys()
        if not all(self._has(name, key) for name, key in keys.items()):
            console.print(f"{self.name}: {', '.join(BASELINES)}")
            measured = measure_baselines(
                self.ridge, self._load(), self.held_out, self.embedding_units
            )
            for name, accuracy in measured.items():
                self._keep(name, keys[name], [0], accuracy.unsqueeze(1))
        for name, rule in rules.items():
            key = self._key_of(rule)
            if self._has(name, key):
                console.print(f"{self.name}: {name}, measured before")
                continue
            steps = list(self.held_out.probe_steps)
            self._keep(name, key, steps, self._roll_out(name, rule, console))

    def _roll_out(self, name: str, rule: Learner, console: Console) -> Tensor:
        """Accuracy of a rule, (probes, steps, draws), run on `DEVICE`."""
        tell = _progress(f"{self.name}: {name}", self.held_out, console)
        hook = rule.register_forward_hook(lambda *_: tell())
        try:
            with _autocast(self.precision):
                numbers = range(self.held_out.draws)
                return roll_out_draws(
                    rule, self.ridge, self._load(), self.held_out, numbers
                ).accuracy
        finally:
            hook.remove()

    def _load(self) -> HeldOutData:
        if self._data is None:
            self._data = self.held_out.load(self.data_root)
        return self._data

    def _has(self, name: str, key: str) -> bool:
        return name in self._rows and self._rows[name].key == key

    def _keep(self, name: str, key: str, steps: list[int], accuracy: Tensor) -> None:
        """Add a row of accuracies (probes, steps, draws), and write the file."""
        of_probes = dict(zip(self.held_out.probes, accuracy.tolist(), strict=True))
        self._rows[name] = Row(key, steps, of_probes)
        rows = {name: vars(row) for name, row in self._rows.items()}
        content = {"dataset": self.name, "protocol": self.protocol, "rows": rows}
        with replace_file(self.file) as temporary:
            temporary.write_text(json.dumps(content))

    def _baseline_keys(self) -> dict[str, str]:
        units = self.embedding_units
        sizes = {"PCA": COMPONENTS, "k-means": CENTROIDS, RANDOM_NETWORK: units}
        return {name: _digest([self.protocol, name, sizes.get(name)]) for name in BASELINES}

    def _key_of(self, rule: Learner) -> str:
        theta = hashlib.sha256()
        for name, tensor in sorted(rule.state_dict().items()):
            theta.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            theta.update(tensor.cpu().numpy().tobytes())
        return _digest([self.protocol, self.precision, described(rule), theta.hexdigest()])


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _autocast(precision: str) -> AbstractContextManager[Any]:
    """A context for rollouts with hidden states in `precision` and all else in float32."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype == torch.float32 else torch.autocast(DEVICE.type, dtype)


def _progress(what: str, held_out: HeldOut, console: Console) -> Callable[[], None]:
    """A function to call after every inner step, which prints a line at every probe."""
    done, start = 0, time.monotonic()

    def tell() -> None:
        nonlocal done
        done += 1
        if done in held_out.probe_steps:
            left = (time.monotonic() - start) / done * (held_out.inner_steps - done) / 60
            steps = f"inner step {done} of {held_out.inner_steps}"
            console.print(f"{what}, {steps}, {left:.0f} minutes left")

    return tell
