"""Learners whose θ holds the initial φ of one network; prototypical networks keep it.

Shapes: T tasks, N_0 inputs, E outputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from lit_lul.constraints import Checked, PositiveInt
from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch, Learner, State, register
from lit_lul.networks.conv import ConvNet
from lit_lul.networks.mlp import LinearHeadMLP
from lit_lul.networks.network import Network
from lit_lul.trees import Tree, map_tensors, tensors_of


@dataclass(frozen=True)
class StartSettings(Checked):
    """The network whose initial φ is learned; `data.networks` must give the same one.

    Raises:
        InvalidInput: for an unknown network, or sizes that it cannot have.
    """

    embedding_units: PositiveInt = 5
    """E, units of the linear head: the classes of a task, where outputs are classes."""
    network: Literal["ConvNet", "LinearHeadMLP"] = "ConvNet"
    """Its class."""
    inputs: PositiveInt = 196
    """N_0; 196 for images of 14 × 14."""
    image_channels: PositiveInt = 1
    """Channels of a ConvNet's images, 1 if they are grey, 3 if in colour."""
    channels: PositiveInt = 32
    """Channels of every block of a ConvNet."""
    blocks: PositiveInt = 4
    """Number of blocks of a ConvNet."""
    hidden_units: list[PositiveInt] = field(default_factory=lambda: [256, 128])
    """Units of the hidden layers of a LinearHeadMLP."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make_network()

    def make_network(self) -> ConvNet | LinearHeadMLP:
        """The network."""
        if self.network == "ConvNet":
            return ConvNet(
                self.inputs,
                self.embedding_units,
                self.channels,
                self.blocks,
                self.image_channels,
            )
        return LinearHeadMLP((self.inputs, *self.hidden_units, self.embedding_units))


class LearnedStart(Learner):
    """A learner of labelled examples that starts every task from the same φ, which is part of θ.

    Args:
        settings: the network.
    """

    learns_from = "support"
    settings: StartSettings

    def __init__(self, settings: StartSettings) -> None:
        super().__init__(settings)
        self.network: ConvNet | LinearHeadMLP = settings.make_network()
        initial = self.network.init(1, torch.default_generator)
        self._form = map_tensors(lambda tensor: tensor.to("meta"), initial)
        self.initial = nn.ParameterDict()
        for name, tensor in tensors_of(initial):  # in this order
            self.initial[name.replace(".", "_")] = tensor[0]

    @property
    def embedding_units(self) -> int:
        """E, from the settings."""
        return self.settings.embedding_units

    def check(self, network: Network) -> None:
        """Check that this is the network that θ has the shapes of.

        Raises:
            InvalidInput: if not, naming both.
        """
        if network != self.network:
            raise InvalidInput(f"network {network}: {type(self).__name__} expects {self.network}")

    def start(self, network: Network, tasks: int, generator: torch.Generator) -> State:
        """The learned φ, for each of T tasks."""
        expanded = (p.expand(tasks, *p.shape) for p in self.initial.values())
        return {"params": self.tree(expanded)}

    def tree(self, tensors: Iterable[Tensor]) -> Tree:
        """φ of tensors in the order of `tensors_of`."""
        given = iter(tensors)
        return map_tensors(lambda _: next(given), self._form)


@register
class PrototypicalNetwork(LearnedStart):
    """A prototypical network (Snell et al. 2017): an embedding that needs no inner steps.

    Its φ is θ, and the objective `Prototypes` classifies by its embedding. Inner steps change
    nothing, so that unrolls of no steps are enough.

    Args:
        settings: the network; distances are measured between its `embedding_units`.
    """

    settings_class = StartSettings

    def __init__(self, settings: StartSettings = StartSettings(embedding_units=64)) -> None:
        super().__init__(settings)

    def step(self, network: Network, state: State, batch: Batch) -> State:
        """The same state."""
        return state
