"""What a learner is: an nn.Module whose parameters θ are meta-learned, and which trains networks.

Shapes: T tasks, B examples, N_0 inputs, C target columns.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from lit_lul.errors import InvalidInput
from lit_lul.networks.network import Network, Params
from lit_lul.trees import Tree

State: TypeAlias = Tree
"""All that a learner carries for T tasks: φ and what is its own; a tree of tensors, T first."""


class Batch(NamedTuple):
    """What one inner step sees."""

    x: Tensor
    """One minibatch per task, (T, B, N_0)."""
    y: Tensor | None = None
    """Targets, (T, B, C); None where the learner learns without labels."""


class Learner(nn.Module, ABC):
    """Trains a network on the batches of a task.

    Args:
        settings: sizes of θ and form of the learner, an instance of `settings_class`.
    """

    settings_class: ClassVar[type[Any]]
    """A frozen dataclass of plain values with a default each; θ files store it."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.settings = settings

    @property
    @abstractmethod
    def embedding_units(self) -> int:
        """E, the width of the embedding of the networks that it trains."""

    @abstractmethod
    def start(self, network: Network, tasks: int, generator: torch.Generator) -> State:
        """The state of T = `tasks` new tasks, on the generator's device; may depend on θ."""

    @abstractmethod
    def step(self, network: Network, state: State, batch: Batch) -> State:
        """The state after one inner step."""

    def parameters_of(self, state: State) -> Params:
        """φ within the state: what networks and objectives take."""
        return state["params"]

    def check(self, network: Network) -> None:
        """Check that the two fit.

        Raises:
            InvalidInput: naming what the network has and what this learner expects.
        """
        if network.outputs != self.embedding_units:
            raise InvalidInput(
                f"network with an embedding of {network.outputs} units: "
                f"{type(self).__name__} expects {self.embedding_units}"
            )

    def prepare(self, compile: bool) -> None:  # most have nothing to prepare
        """Choose kernels, once θ is on its device; `compile` asks for compiled ones."""

    def forward(self, network: Network, state: State, batch: Batch) -> State:
        """`step`, so that hooks and recomputation see it."""
        return self.step(network, state, batch)


LEARNERS: dict[str, type[Learner]] = {}
"""Learners by class name: what θ files may name. Filled by `register`."""

L = TypeVar("L", bound=type[Learner])


def register(learner: L) -> L:
    """A class decorator: θ files may name this class.

    Raises:
        ValueError: when another class has its name.
    """
    if LEARNERS.setdefault(learner.__name__, learner) is not learner:
        raise ValueError(f"two learners are called {learner.__name__}")
    return learner
