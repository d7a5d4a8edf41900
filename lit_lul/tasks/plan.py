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

    def copy(self) -> "StreamState":
        """A copy that shares nothing with this state."""
        return StreamState(self.outer_step, self.turn, [Slot(**vars(s)) for s in self.slots])


@dataclass(eq=False)
class Plan:
    """All that is random about one truncation, drawn on the CPU."""

    cohort: int
    """Number of the cohort, over all ranks."""
    fresh: bool
    """Whether the cohort starts a new inner problem."""
    age: int
    """Inner steps since the problem began."""
    network: Network
    family: int
    """Index into `TaskStream.families`."""
    source: TaskSource
    content: Tree
    """The source's plan of the data."""
    start_seed: int
    """Seeds the state of new tasks."""
    noise_seed: int
    """Seeds the estimator's own draws."""
    after: StreamState | None = None
    """The state of the stream after this truncation."""

    def to(self, device: torch.device) -> "Plan":
        """The plan with its tensors on a device."""
        return Plan(**vars(self) | {"content": to_device(self.content, device)})
