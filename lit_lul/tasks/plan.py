"""The plan of a truncation, and where a stream of them stands."""

from dataclasses import dataclass, field

import torch

from lit_lul.networks.network import Network
from lit_lul.tasks.source import TaskSource
from lit_lul.trees import Tree, to_device


@dataclass
class Slot:
    """Where one cohort stands."""

    family: str = ""
    """Name of its family; "" before its first truncation."""
    generation: int = -1
    """Inner problems before the present one."""
    truncation: int = 0
    age: int = 0
    """Inner steps since the problem began."""
    length: int = 0
    """Inner steps that the problem lives for."""


@dataclass
class StreamState:
    """Where the stream of one rank stands; plain values."""

    outer_step: int = 0
    turn: int = 0
    """Cohorts that have had their truncation of this outer step."""
    slots: list[Slot] = field(default_factory=list)

    def copy(self) -> "StreamState":
        """One that can change without this one."""
        return StreamState(self.outer_step, self.turn, [Slot(**vars(s)) for s in self.slots])


@dataclass(eq=False)
class Plan:
    """All that is random about one truncation, drawn on the CPU."""

    cohort: int
    """Which cohort, counted over all ranks."""
    fresh: bool
    """Whether the cohort starts a new inner problem."""
    age: int
    """Inner steps since the problem began."""
    network: Network
    family: int
    """Index into `TaskStream.families`."""
    source: TaskSource
    content: Tree
    """What the source has planned."""
    start_seed: int
    """Seeds the state of new tasks."""
    noise_seed: int
    """Seeds what an estimator draws."""
    after: StreamState | None = None
    """Where the stream stands behind this truncation."""

    def to(self, device: torch.device) -> "Plan":
        """The same with its tensors on a device."""
        return Plan(**vars(self) | {"content": to_device(self.content, device)})
