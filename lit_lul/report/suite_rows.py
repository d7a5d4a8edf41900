"""Measurements of the suite on one entry: baselines and rules, by both protocols at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from lit_lul.evaluation.baselines import MORE_BASELINES, measure_baselines, size_of
from lit_lul.evaluation.curve import embed_labelled
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut, Protocol, describe
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.probes import probe
from lit_lul.learners.learner import Learner
from lit_lul.learners.rollout import rollout
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.stored_rows import Precision, Row, RowFile, autocast, digest, rule_key

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


@dataclass
class Entry:
    """One entry's rows, and the file that stores them between runs.

    A row's accuracies are named by probe and protocol; those of a baseline are the same for both
    protocols. Draws are those of all parts.

    Args:
        name: name of the entry.
        parts: its datasets.
        ridge: the ridge probe.
        embedding_units: E of the random network.
        precision: precision of the hidden states.
        path: JSON file, rewritten after every measurement.
        data_root: folder that is searched for the data first.
        baselines: names of the baselines.

    Raises:
        InvalidInput: when the file exists and is not such a file.
    """

    name: str
    parts: Sequence[HeldOut]
    ridge: FewShotRidge
    embedding_units: int
    precision: Precision
    path: Path
    data_root: str | None
    baselines: Sequence[str] = MORE_BASELINES

    def __post_init__(self) -> None:
        self._file = RowFile(self.name, self.path, Row)

    @property
    def source(self) -> str:
        """Where the data are from; the same for entries with other classes of one dataset."""
        part = self.parts[0]
        named = part.images or part.text
        return named.dataset if named else part.dataset

    def rows(self, rules: Mapping[str, Learner]) -> dict[str, Row] | None:
        """Baselines' and rules' rows by name; None if one is missing or has another key."""
        return self._file.select(self._keys(rules))

    def work(self, rules: Mapping[str, Learner]) -> int:
        """Inner steps of all draws and of all rules that are not measured yet."""
        keys = self._keys(rules)
        return self._steps * sum(not self._file.has(name, keys[name]) for name in rules)

    def load(self) -> list[HeldOutData]:
        """Load the data of all parts.

        Raises:
            InvalidInput: when they are missing or invalid.
        """
        return [part.load(self.data_root) for part in self.parts]

    def measure(
        self,
        data: Sequence[HeldOutData],
        rules: Mapping[str, Learner],
        tell: Callable[[str, int], None],
    ) -> None:
        """Measure rows that are missing or have another key.

        Args:
            data: from `load`.
            rules: learners by name.
            tell: called after every row, with what was measured and its number of inner steps.

        Raises:
            InvalidInput: when a class has too few examples, or the file cannot be written.
        """
        keys, parts = self._keys(rules), list(zip(self.parts, data, strict=True))
        for name in self.baselines:
            if not self._file.has(name, keys[name]):
                accuracy = torch.cat([self._baseline(name, *part) for part in parts], -1)
                self._keep(name, keys[name], 0, dict.fromkeys(PROTOCOLS, accuracy))
                tell(f"{self.name}: {name}", 0)
        for name, rule in rules.items():
            if not self._file.has(name, keys[name]):
                by_part = [self._roll_out(rule, *part) for part in parts]
                joined = {p: torch.cat([part[p] for part in by_part], -1) for p in PROTOCOLS}
                self._keep(name, keys[name], self.parts[0].inner_steps, joined)
                tell(f"{self.name}: {name}", self._steps)

    @property
    def _steps(self) -> int:
        return sum(part.draws * part.inner_steps for part in self.parts)

    def _baseline(self, name: str, part: HeldOut, data: HeldOutData) -> Tensor:
        """Accuracy (probes, draws)."""
        return measure_baselines(self.ridge, data, part, self.embedding_units, [name])[name]

    def _roll_out(self, rule: Learner, part: HeldOut, data: HeldOutData) -> dict[Protocol, Tensor]:
        """Train networks with a rule on all draws: accuracy (probes, draws) by protocol."""
        draws = Draws(data, part, range(part.draws), next(rule.parameters()))
        network = part.network_of(rule, data.x.shape[1])
        accuracy = {}
        with torch.no_grad(), autocast(self.precision):
            state = draws.start(rule, network)
            ((_, state),) = rollout(rule, network, state, draws.minibatch, [part.inner_steps])
            params = rule.parameters_of(state)
            for protocol in PROTOCOLS:
                features = embed_labelled(protocol, self.ridge, network, params, draws)
                accuracy[protocol] = probe(part.probes, self.ridge, draws, *features)
        return accuracy

    def _keep(self, name: str, key: str, step: int, accuracy: Mapping[Protocol, Tensor]) -> None:
        named = {
            column(probe, protocol): [draws]
            for protocol, values in accuracy.items()
            for probe, draws in zip(self.parts[0].probes, values.tolist(), strict=True)
        }
        self._file.keep(name, Row(key, [step], named), self._protocol)

    @property
    def _protocol(self) -> dict[str, Any]:
        parts = [part.describe() for part in self.parts]
        return {"parts": parts, "ridge": describe(self.ridge)}

    def _keys(self, rules: Mapping[str, Learner]) -> dict[str, str]:
        protocol, units = self._protocol, self.embedding_units
        baselines = {n: digest([protocol, n, size_of(n, units)]) for n in self.baselines}
        of_rules = {name: rule_key(protocol, self.precision, rule) for name, rule in rules.items()}
        return baselines | of_rules


def column(probe: str, protocol: str) -> str:
    """The name of a probe's accuracies by a protocol."""
    return f"{probe}, {protocol}"
