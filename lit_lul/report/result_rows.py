"""Measurements of `report results` on one dataset: curves of rules, and baselines."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from lit_lul.evaluation.baselines import BASELINES, measure_baselines, size_of
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.held_out import HeldOut, describe
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.learners.learner import Learner
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.stored_rows import Precision, Row, RowFile, autocast, digest, rule_key


@dataclass
class Dataset:
    """One dataset's rows, and the file that stores them between runs.

    Args:
        name: name of the dataset.
        held_out: its entry of the configuration.
        ridge: the ridge probe.
        embedding_units: E of the random network.
        precision: precision of the hidden states.
        path: JSON file, rewritten after every measurement.
        data_root: folder that is searched for the data first.

    Raises:
        InvalidInput: when the file exists and is not such a file.
    """

    name: str
    held_out: HeldOut
    ridge: FewShotRidge
    embedding_units: int
    precision: Precision
    path: Path
    data_root: str | None
    _data: HeldOutData | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._file = RowFile(self.name, self.path, Row)

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that a rule's numbers depend on, except θ."""
        return {"held_out": self.held_out.describe(), "ridge": describe(self.ridge)}

    def rows(self, rules: Mapping[str, Learner]) -> dict[str, Row] | None:
        """Baselines' and rules' rows by name; None if one is missing or has another key."""
        keys = {name: self._key_of(rule) for name, rule in rules.items()}
        return self._file.select(self._baseline_keys() | keys)

    def measure(self, rules: Mapping[str, Learner], console: Console) -> None:
        """Measure rows that are missing or have another key, and print the progress.

        Raises:
            InvalidInput: when the data are missing or the file cannot be written.
        """
        keys = self._baseline_keys()
        if self._file.select(keys) is None:
            console.print(f"{self.name}: {', '.join(BASELINES)}")
            measured = measure_baselines(
                self.ridge, self._load(), self.held_out, self.embedding_units
            )
            for name, accuracy in measured.items():
                self._keep(name, keys[name], [0], accuracy.unsqueeze(1))
        for name, rule in rules.items():
            key = self._key_of(rule)
            if self._file.has(name, key):
                console.print(f"{self.name}: {name}, measured before")
                continue
            steps = list(self.held_out.probe_steps)
            self._keep(name, key, steps, self._roll_out(name, rule, console))

    def _roll_out(self, name: str, rule: Learner, console: Console) -> Tensor:
        """Accuracy of a rule, (probes, steps, draws), run on `DEVICE`."""
        tell = _progress(f"{self.name}: {name}", self.held_out, console)
        hook = rule.register_forward_hook(lambda *_: tell())
        try:
            with autocast(self.precision):
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

    def _keep(self, name: str, key: str, steps: list[int], accuracy: Tensor) -> None:
        """Add a row of accuracies (probes, steps, draws), and write the file."""
        of_probes = dict(zip(self.held_out.probes, accuracy.tolist(), strict=True))
        self._file.keep(name, Row(key, steps, of_probes), self.protocol)

    def _baseline_keys(self) -> dict[str, str]:
        units = self.embedding_units
        return {name: digest([self.protocol, name, size_of(name, units)]) for name in BASELINES}

    def _key_of(self, rule: Learner) -> str:
        return rule_key(self.protocol, self.precision, rule)


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
