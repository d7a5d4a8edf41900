"""The protocol of learners: modules with meta-learned parameters θ that train networks.

Shapes: T tasks, B examples, N_0 inputs, C target columns.
"""

from abc import ABC, abstractmethod
from dataclasses import is_dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from lit_lul.errors import InvalidInput
from lit_lul.networks.network import Network, Params
from lit_lul.trees import Tree

State: TypeAlias = Tree
"""What a learner carries for T tasks: φ and its own variables; a tree of tensors, T first."""


LearnsFrom: TypeAlias = Literal["unlabelled", "labelled", "support"]
"""What inner steps see: minibatches without labels, minibatches with them, or in every step the
support examples that the objective has too."""


class Batch(NamedTuple):
    """The input of one inner step."""

    x: Tensor
    """One minibatch per task, (T, B, N_0)."""
    y: Tensor | None = None
    """Targets, (T, B, C); None for learners without labels."""


class Learner(nn.Module, ABC):
    """A module that trains networks on the batches of tasks; its parameters are θ.

    Args:
        settings: sizes of θ and form of the learner, an instance of `settings_class`.
    """

    learns_from: ClassVar[LearnsFrom] = "unlabelled"
    """What its inner steps see."""
    settings_class: ClassVar[type[Any]]
    """A frozen dataclass of plain values with defaults; θ files store its fields."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.settings = settings

    @property
    @abstractmethod
    def embedding_units(self) -> int:
        """E, the embedding width of the networks that it trains."""

    @abstractmethod
    def start(self, network: Network, tasks: int, generator: torch.Generator) -> State:
        """The state of T = `tasks` new tasks, on the generator's device; may depend on θ."""

    @abstractmethod
    def step(self, network: Network, state: State, batch: Batch) -> State:
        """The state after one inner step."""

    def parameters_of(self, state: State) -> Params:
        """φ within a state, as networks and objectives take it."""
        return state["params"]

    def check(self, network: Network) -> None:
        """Check that this learner can train the network.

        Raises:
            InvalidInput: if not, naming what the network has and what the learner expects.
        """
        if network.outputs != self.embedding_units:
            raise InvalidInput(
                f"network with an embedding of {network.outputs} units: "
                f"{type(self).__name__} expects {self.embedding_units}"
            )

    def network_for(self, network: Network) -> Network:
        """The network that this learner trains where a user or a report asks for `network`.

        This is that network, unless the learner's networks are of another class or have another
        readout; then it is one of those with the same number of units. Configurations of a fit name
        the learner's networks themselves.

        Raises:
            InvalidInput: if it can train neither.
        """
        self.check(network)
        return network

    def prepare(self, compile: bool) -> None:  # most have nothing to prepare
        """Choose kernels once θ is on its device; compiled ones if `compile` is true."""

    def forward(self, network: Network, state: State, batch: Batch) -> State:
        """Call `step`; through `forward`, so that hooks and recomputation apply."""
        return self.step(network, state, batch)


LEARNERS: dict[str, type[Learner]] = {}
"""All registered learners by class name; θ files may name these only."""

L = TypeVar("L", bound=type[Learner])


def register(learner: L) -> L:
    """Class decorator that adds a learner to `LEARNERS`.

    Raises:
        ValueError: when another class has the same name, or `settings_class` is no dataclass.
    """
    if not is_dataclass(getattr(learner, "settings_class", None)):
        raise ValueError(f"{learner.__name__}.settings_class: must be a dataclass")
    if LEARNERS.setdefault(learner.__name__, learner) is not learner:
        raise ValueError(f"two learners are called {learner.__name__}")
    return learner
