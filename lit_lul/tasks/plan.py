"""The plan of a truncation, and the state of a stream of them."""

from dataclasses import dataclass, field

import torch

from lit_lul.networks.network import Network
from lit_lul.tasks.source import TaskSource
from lit_lul.trees import Tree, to_device


@dataclass
class Slot:
    """The state of one cohort in the stream."""

    family: str = ""
    """Name of the family; "" before the first truncation."""
    generation: int = -1
    """Number of the current inner problem, from 0; -1 before the first truncation."""
    truncation: int = 0
    """Truncations of the current problem so far."""
    age: int = 0
    """Inner steps since the problem began."""
    length: int = 0
    """Inner steps after which the problem ends."""


@dataclass
class StreamState:
    """The state of one rank's stream, in plain values."""

    outer_step: int = 0
    turn: int = 0
    """Truncations of this outer step that are done, in all its rounds."""
    slots: list[Slot] = field(default_factory=list)


class Plan:
    """All that is random about one truncation, drawn on the CPU, and its place in the run.

    Lightning passes it on unchanged, as it is no dataclass.

    Args:
        cohort: number of the cohort, over all ranks.
        fresh: whether the cohort starts a new inner problem.
        age: inner steps since the problem began.
        network: the network of its tasks.
        tasks: T.
        family: index into `TaskStream.families`.
        source: makes the data.
        content: the source's plan of the data.
        start_seed: seeds the state of new tasks.
        noise_seed: seeds the estimator's own draws.
        after: the state of the stream after this truncation; None for a rollout.
        counted: whether metrics count it; not if it is a rollout that another rank does too.
    """

    def __init__(
        self,
        cohort: int,
        fresh: bool,
        age: int,
        network: Network,
        tasks: int,
        family: int,
        source: TaskSource,
        content: Tree,
        start_seed: int,
        noise_seed: int,
        after: StreamState | None = None,
        counted: bool = True,
    ) -> None:
        self.cohort, self.fresh, self.age, self.family = cohort, fresh, age, family
        self.network, self.tasks = network, tasks
        self.source, self.content = source, content
        self.start_seed, self.noise_seed = start_seed, noise_seed
        self.after, self.counted = after, counted

    @property
    def completes(self) -> bool:
        """Whether it is the last truncation of an outer step."""
        return self.after is not None and self.after.turn == 0

    def to(self, device: torch.device) -> "Plan":
        """The plan with its tensors on a device."""
        return Plan(**vars(self) | {"content": to_device(self.content, device)})
