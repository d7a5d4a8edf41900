"""What the panels share: rules, data, and measurements of a rule on a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.held_out import HeldOut, describe
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.learners.learner import Learner
from lit_lul.learners.local.prototypes import PrototypeRule
from lit_lul.learners.local.rule import LocalRule
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.stored_rows import Precision, Row, autocast, rule_key
from studies.figures.panel import Measurement
from studies.figures.run_thetas import KeptTheta

SECONDS_PER_UNIT = 6e-5
"""About how long the paper's rule takes for an inner step of a task, per unit of network cost."""
LOCAL_SHARE = 0.1
"""What a `LocalRule` takes of that."""
RIDGE = FewShotRidge()


@dataclass
class Context:
    """Rules, data and settings of all panels.

    Attributes:
        rules: rules by name.
        untrained: the rule of the first one's form with θ as it is initialised.
        datasets: held-out datasets by name.
        precision: precision of the hidden states.
        data_root: folder of datasets, searched first.
        thetas: θ kept along a run, in order; empty without a run.
        run: the run's folder.
        no_run: why there is no run, if there is none.
    """

    rules: Mapping[str, Learner]
    untrained: Learner
    datasets: Mapping[str, HeldOut]
    precision: Precision
    data_root: str | None
    thetas: Sequence[KeptTheta] = ()
    run: Path | None = None
    no_run: str | None = None
    _loaded: dict[str, HeldOutData] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The name of the first rule."""
        return next(iter(self.rules))

    @property
    def embedding_units(self) -> int:
        """E of all rules."""
        return self.untrained.embedding_units

    def entry(self, name: str) -> HeldOut:
        """A held-out dataset by name.

        Raises:
            InvalidInput: for an unknown name.
        """
        if name not in self.datasets:
            raise InvalidInput(f"dataset {name}: expected one of {', '.join(self.datasets)}")
        return self.datasets[name]

    def load(self, name: str) -> HeldOutData:
        """The data of a dataset; the last few are kept.

        Raises:
            InvalidInput: when they are missing or invalid.
        """
        if name not in self._loaded:
            while len(self._loaded) > 1:
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[name] = self.entry(name).load(self.data_root)
        return self._loaded[name]

    def key(self, rule: Learner, *content: Any) -> str:
        """The key of a rule's row, of the protocol in JSON values."""
        return rule_key([describe(RIDGE), *content], self.precision, rule)

    def seconds(self, rule: Learner, held_out: HeldOut) -> float:
        """About how long a rule takes on a dataset."""
        network = held_out.networks.at(0.5, 200, rule.embedding_units)
        share = LOCAL_SHARE if isinstance(rule, LocalRule | PrototypeRule) else 1
        steps = held_out.draws * held_out.inner_steps * held_out.batch_size / 64
        return share * steps * network.cost * SECONDS_PER_UNIT

    def curve(self, name: str, dataset: str, held_out: HeldOut, rule: Learner) -> Measurement[Row]:
        """A measurement of a rule's curve.

        Args:
            name: of the measurement.
            dataset: name of the data.
            held_out: the protocol on these data.
            rule: the rule.
        """
        key = self.key(rule, held_out.describe())

        def measure() -> Row:
            data = self.load(dataset)
            with autocast(self.precision):
                numbers = range(held_out.draws)
                accuracy = roll_out_draws(rule, RIDGE, data, held_out, numbers).accuracy
            by_probe = dict(zip(held_out.probes, accuracy.tolist(), strict=True))
            return Row(key, list(held_out.probe_steps), by_probe)

        return Measurement(name, key, self.seconds(rule, held_out), measure)
