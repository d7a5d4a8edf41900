"""What the panels share: rules, data, and measurements of rules and baselines on a dataset."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import embed_labelled, roll_out_draws
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut, describe
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.learners.learner import Learner
from lit_lul.learners.rollout import rollout
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.rows import DEVICE, Precision, Row, autocast, digest, rule_key
from lit_lul.report.study import DataCache, Measurement
from studies.figures.kept_thetas import KeptTheta
from studies.networks.supervised import MINIBATCH, train_supervised
from studies.networks.vae import train_vae

RIDGE = FewShotRidge()
SECONDS_PER_UNIT = 6e-5
"""About how long the paper's rule takes for an inner step of a task, per unit of network cost."""
VAE_SECONDS, SUPERVISED_SECONDS = 1.5e-4, 1e-4
"""About how long a gradient step takes, per draw and row of a minibatch."""


@dataclass(frozen=True)
class Context:
    """Rules and data of all panels."""

    rules: Mapping[str, Learner]
    initial: Learner
    """The rule of the first one's form with initial θ."""
    datasets: Mapping[str, HeldOut]
    precision: Precision
    data: DataCache
    thetas: Sequence[KeptTheta] = ()
    """θ kept along a run, in order; empty without a run."""
    run: Path | None = None
    no_run: str | None = None
    """Why there is no run, if there is none."""

    def entry(self, name: str) -> HeldOut:
        """A held-out dataset by name; raises `InvalidInput` for an unknown one."""
        if name not in self.datasets:
            raise InvalidInput(f"dataset {name}: expected one of {', '.join(self.datasets)}")
        return self.datasets[name]

    def load(self, name: str) -> HeldOutData:
        """The data of a dataset; raises `InvalidInput` when they are missing or invalid."""
        return self.data.load(self.entry(name))

    def protocol(self, name: str) -> str:
        """How rules are measured on a dataset, for readers."""
        entry = self.entry(name)
        return (
            f"{entry.inner_steps} inner steps on minibatches of {entry.batch_size}, {entry.draws} "
            f"draws of {entry.labels_per_class} labels per class, {entry.protocol}"
        )

    def key(self, rule: Learner, *content: Any) -> str:
        """The key of a rule's row, from a protocol in JSON values."""
        return rule_key([describe(RIDGE), *content], self.precision, rule)

    def seconds(self, rule: Learner, held_out: HeldOut) -> float:
        """About how long a rule takes on a dataset."""
        network = held_out.networks.at(0.5, 200, rule.embedding_units)
        steps = held_out.draws * held_out.inner_steps * held_out.batch_size / 64
        return steps * network.cost * SECONDS_PER_UNIT

    def curve(
        self,
        name: str,
        dataset: str,
        held_out: HeldOut,
        rule: Learner,
        changed: Callable[[HeldOutData], HeldOutData] | None = None,
        *content: Any,
    ) -> Measurement[Row]:
        """A measurement of a rule's curve.

        The data may be changed before they are used; `content` is what else the numbers depend on.
        """
        key = self.key(rule, held_out.describe(), *content)

        def measure() -> Row:
            data = self.load(dataset)
            data, numbers = changed(data) if changed else data, range(held_out.draws)
            with autocast(self.precision):
                accuracy = roll_out_draws(rule, RIDGE, data, held_out, numbers).accuracy
            by_probe = dict(zip(held_out.probes, accuracy.tolist(), strict=True))
            return Row(key, list(held_out.probe_steps), by_probe)

        return Measurement(name, key, self.seconds(rule, held_out), measure)

    def embeddings(
        self, rule: Learner, dataset: str, held_out: HeldOut, steps: Sequence[int]
    ) -> tuple[Draws, list[tuple[Tensor, Tensor]]]:
        """The draws of a dataset, and what a rule's networks make of them.

        Returns:
            The T draws, and embeddings of support (T, K, E) and query (T, K', E) after each of the
            inner steps.
        """
        data = self.load(dataset)
        draws = Draws(data, held_out, range(held_out.draws), next(rule.parameters()))
        network = held_out.network_of(rule, data.x.shape[1])
        with torch.no_grad(), autocast(self.precision):
            states = rollout(rule, network, draws.start(rule, network), draws.minibatch, steps)
            embedded = [
                embed_labelled(held_out.protocol, RIDGE, network, rule.parameters_of(state), draws)
                for _, state in states
            ]
        return draws, embedded

    def vae_curve(self, name: str, dataset: str, steps: Sequence[int]) -> Measurement[Row]:
        """A measurement of a VAE after gradient steps: its accuracy, and its bound as a probe."""
        entry = self.entry(dataset)
        key = digest([entry.describe(), describe(RIDGE), list(steps), "vae"])

        def measure() -> Row:
            data = self.load(dataset)
            found = train_vae(RIDGE, data, entry, range(entry.draws), steps, DEVICE)
            return Row(key, list(steps), {name: of.tolist() for name, of in found.items()})

        seconds = entry.draws * steps[-1] * entry.batch_size * VAE_SECONDS
        return Measurement(name, key, seconds, measure)

    def supervised_curve(
        self, name: str, dataset: str, steps: Sequence[int], rate: float
    ) -> Measurement[Row]:
        """A measurement of networks trained on the labels alone at a rate, as probe "ridge"."""
        entry, units = self.entry(dataset), self.initial.embedding_units
        key = digest([entry.describe(), list(steps), rate, units, "supervised"])

        def measure() -> Row:
            numbers, data = range(entry.draws), self.load(dataset)
            found = train_supervised(data, entry, units, numbers, steps, rate, DEVICE)
            return Row(key, list(steps), {"ridge": found["accuracy"].tolist()})

        seconds = entry.draws * steps[-1] * MINIBATCH * SUPERVISED_SECONDS
        return Measurement(name, key, seconds, measure)
