"""Measurements of baselines and rules on one entry of a configuration: held-out datasets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from lit_lul.evaluation.baselines import Baseline, Case
from lit_lul.evaluation.curve import embed_labelled
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut, Protocol, describe
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.probes import probe
from lit_lul.learners.learner import Learner
from lit_lul.learners.rollout import rollout
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.rows import Row, RowFile, autocast, digest, rule_key
from lit_lul.report.study import DataCache, Machine, Measurement, Part

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
SECONDS = 2e-4
"""About how long a rule takes for an inner step of a draw, per row of a minibatch."""


@dataclass(frozen=True)
class Methods:
    """What is compared.

    Attributes:
        baselines: baselines by name.
        rules: rules by name, each with initial θ before it, from `load_rules`.
        ridge: the ridge probe.
    """

    baselines: Mapping[str, Baseline]
    rules: Mapping[str, Learner]
    ridge: FewShotRidge = FewShotRidge()  # noqa: RUF009  # frozen

    @property
    def embedding_units(self) -> int:
        """E of all rules."""
        return next(iter(self.rules.values())).embedding_units


@dataclass
class Entry(Part[Row]):
    """An entry of a configuration: one dataset, or several whose draws count together.

    Without a curve, rules are probed after the last inner step by both protocols, and accuracies
    are named by probe and protocol; those of a baseline are the same for both. With a curve, rules
    are probed along it by the entry's protocol alone, and accuracies are named by probe.

    Args:
        label: name of the entry, unique in its section.
        parts: its datasets.
        methods: what is measured.
        machine: precision of the hidden states.
        cache: loads the data.
        section: end of the name of the folder of its file, "" for that of the page.
        curve: whether there is a curve.
    """

    label: str
    parts: Sequence[HeldOut]
    methods: Methods
    machine: Machine
    cache: DataCache
    section: str = ""
    curve: bool = False
    kind: type[Row] = field(default=Row, init=False)

    def __post_init__(self) -> None:
        self.name = self.label + self.section.replace("_", " ")
        self.groups = (self.label,)

    @property
    def source(self) -> str:
        """Where the data are from; the same for entries with other classes of one dataset."""
        part = self.parts[0]
        named = part.images or part.text
        return named.dataset if named else part.dataset

    def file(self, out: Path) -> RowFile[Row]:
        """The stored rows, in the folder of the page's name and the section."""
        folder = out.with_name(out.stem + self.section)
        return RowFile(self.label, folder / f"{self.label}.json", Row)

    def protocol(self) -> dict[str, Any]:
        """Everything that numbers depend on, except θ."""
        parts = [part.describe() for part in self.parts]
        ridge = {"ridge": describe(self.methods.ridge)}
        return ({"held_out": parts[0]} if self.curve else {"parts": parts}) | ridge

    def measurements(self) -> list[Measurement[Row]]:
        """Baselines, then rules."""
        protocol, units = self.protocol(), self.methods.embedding_units
        steps = self.parts[0].probe_steps if self.curve else (self.parts[0].inner_steps,)
        work = sum(part.draws * part.inner_steps * part.batch_size for part in self.parts)
        made = []
        for name, baseline in self.methods.baselines.items():
            key = digest([protocol, name, baseline.size_for(units)])
            measure = partial(self._measure, key, (0,), partial(self._baseline, baseline))
            made.append(Measurement(name, key, 1.0, measure))
        for name, rule in self.methods.rules.items():
            key = rule_key(protocol, self.machine.precision, rule)
            measure = partial(self._measure, key, steps, partial(self._roll_out, rule, steps))
            made.append(Measurement(name, key, SECONDS * work, measure))
        return made

    def _measure(
        self,
        key: str,
        steps: Sequence[int],
        accuracy: Callable[[HeldOut, HeldOutData], dict[Protocol, Tensor]],
    ) -> Row:
        """The row of accuracies (probes, steps, draws) by protocol, the draws of all parts."""
        by_part = [accuracy(part, self.cache.load(part)) for part in self.parts]
        named = {}
        for protocol in by_part[0]:
            joined = torch.cat([part[protocol] for part in by_part], -1)
            for name, values in zip(self.parts[0].probes, joined.tolist(), strict=True):
                named[name if self.curve else column(name, protocol)] = values
        return Row(key, list(steps), named)

    def _protocols(self, part: HeldOut) -> tuple[Protocol, ...]:
        return (part.protocol,) if self.curve else PROTOCOLS

    def _baseline(
        self, baseline: Baseline, part: HeldOut, data: HeldOutData
    ) -> dict[Protocol, Tensor]:
        case = Case(data, part, self.methods.ridge, self.methods.embedding_units)
        return dict.fromkeys(self._protocols(part), baseline.accuracy(case).unsqueeze(1))

    def _roll_out(
        self, rule: Learner, steps: Sequence[int], part: HeldOut, data: HeldOutData
    ) -> dict[Protocol, Tensor]:
        """Train networks with a rule on all draws, and probe them."""
        draws = Draws(data, part, range(part.draws), next(rule.parameters()))
        network = part.network_of(rule, data.x.shape[1])
        accuracy: dict[Protocol, list[Tensor]] = {p: [] for p in self._protocols(part)}
        with torch.no_grad(), autocast(self.machine.precision):
            start = draws.start(rule, network)
            for _, state in rollout(rule, network, start, draws.minibatch, steps):
                params = rule.parameters_of(state)
                for protocol, probed in accuracy.items():
                    features = embed_labelled(protocol, self.methods.ridge, network, params, draws)
                    probed.append(probe(part.probes, self.methods.ridge, draws, *features))
        return {protocol: torch.stack(probed, 1) for protocol, probed in accuracy.items()}


def column(probe: str, protocol: str) -> str:
    """The name of a probe's accuracies by a protocol."""
    return f"{probe}, {protocol}"
