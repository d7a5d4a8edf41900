"""Folders of runs of `fit`: the learner that a run ended with, and what its training used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from lit_lul.errors import InvalidInput
from lit_lul.files.configs import load_config
from lit_lul.files.hub import THETA
from lit_lul.files.theta import load_learner
from lit_lul.learners import PrototypicalNetwork
from lit_lul.learners.learned_start import LearnedStart
from lit_lul.learners.learner import Batch, Learner
from lit_lul.networks.network import Params
from lit_lul.objectives import CrossEntropy, Prototypes
from lit_lul.objectives.objective import Labelled, Objective
from lit_lul.report.rows import DEVICE
from lit_lul.report.study import parse
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.schedules import Rounds, is_drawn
from lit_lul.tasks.source import Source


@dataclass(frozen=True)
class Run:
    """A finished run of `fit`."""

    learner: LearnedStart
    """The learner, on the device of the report."""
    inner_steps: int
    """Inner steps of its validation, which are taken in test episodes too."""
    labels: int
    """Labelled images that its training tasks were drawn from."""
    episodes: int
    """Tasks that it was trained on."""

    @property
    def objective(self) -> Objective:
        """What scores an adapted network."""
        return Prototypes() if isinstance(self.learner, PrototypicalNetwork) else CrossEntropy()

    @torch.no_grad()
    def start(self, tasks: int) -> Params:
        """φ before adapting, of T tasks."""
        generator = torch.Generator(DEVICE).manual_seed(0)  # θ holds the start: it draws nothing
        state = self.learner.start(self.learner.network, tasks, generator)
        return self.learner.parameters_of(state)

    @torch.no_grad()
    def adapt(self, labelled: Labelled) -> Params:
        """φ after the inner steps on the support of T episodes."""
        params = self.start(labelled.support_x.shape[1])
        return adapted(self.learner, params, labelled, self.inner_steps)


def adapted(learner: LearnedStart, params: Params, labelled: Labelled, steps: int) -> Params:
    """φ after some more inner steps of a learner on the support of T episodes."""
    state = {"params": params}
    batch = Batch(labelled.support_x[0], labelled.support_y[0])
    for _ in range(steps):
        state = learner(learner.network, state, batch)
    return learner.parameters_of(state)


def load_run(folder: Path, data_root: str | None) -> Run:
    """Load a finished run: its θ, and from its configuration what it used.

    Raises:
        InvalidInput: when there is no finished run of a learner of labelled examples.
    """
    learner: Learner = load_learner(folder / "checkpoints" / THETA)
    if not isinstance(learner, LearnedStart):
        raise InvalidInput(
            f"{folder}: expected a learner of labelled examples with a learned start"
        )
    values: Any = OmegaConf.to_container(load_config(folder / "config.yaml"), resolve=True)
    data, sizes = values["data"], values["data"]["sizes"]
    rounds = Rounds(**data.get("rounds", {})).before(values["trainer"]["max_steps"])
    episodes = rounds * sizes["cohorts"] * sizes["tasks"]
    sources = parse(folder / "config.yaml", dict[str, Source], data["sources"], "sources")
    labels = sum(_labels(name, source, data_root) for name, source in sources.items())
    return Run(learner.to(DEVICE), data["validation_steps"], labels, episodes)


def _labels(name: str, source: Source, data_root: str | None) -> int:
    """Labelled images of training of one source."""
    if not is_drawn(source.weight) or getattr(source, "classes", "labels") != "labels":
        return 0
    training, _ = source.load(name, data_root)
    if not isinstance(training, ClassTasks):
        raise InvalidInput(f"{name}: expected a source of images")
    return int(training.images.class_sizes[torch.from_numpy(training.pool)].sum())
