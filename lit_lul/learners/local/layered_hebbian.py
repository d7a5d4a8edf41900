"""A Hebbian learner whose embedding is all layers: what one layer loses, another keeps.

Shapes: T tasks, L layers.
"""

import math

import torch
from torch import Tensor, nn

from lit_lul.learners.learner import Batch, register
from lit_lul.learners.local.hebbian import ROLES, HebbianRule, HebbianSettings, HebbianState
from lit_lul.networks.network import Network

COMPONENT_SHARE = 0.25
"""Share of the first layer's units that learn components of the inputs."""
CLUSTERS = {
    "inputs": [1.4, 0.6],
    "signals": [0.0, 0.3, 1.2, -0.4, 0.1, 0.0],
    "inhibition": [0.7, 0.05],
    "decay": [-1.0, 0.5],
    "biases": [-0.4],
    "slowing": [-4.2],
    "sharpness": 0.5,
}
CLUSTERS_OF_CLUSTERS = {
    "inputs": [1.4, 0.6],
    "signals": [0.2, 0.4, 1.1, -0.3, 0.3, 0.0],
    "inhibition": [0.6, 0.1],
    "decay": [-0.7, 0.2],
    "biases": [-0.8],
    "slowing": [-4.2],
    "sharpness": 0.3,
}
COMPONENTS = {
    "inputs": [1.3, 1.3],
    "signals": [0.7, 0.0, 0.9, 0.2, 0.7, 0.0],
    "inhibition": [0.0, 0.2],
    "decay": [1.0, 0.0],
    "biases": [3.0],
    "slowing": [-4.7],
    "sharpness": 0.0,
}
START = {"first": CLUSTERS, "hidden": CLUSTERS_OF_CLUSTERS, "last": COMPONENTS}
"""Initial coefficients by role, rounded from those that trials ended with (docs/runs): sparse units
that compete, so that each responds to a cluster, and nearly linear ones."""
GAINS = (1.7, 1.1, 0.85, 0.3)
"""Initial gains of the inputs and of layers by role."""


@register
class LayeredHebbianRule(HebbianRule):
    """`HebbianRule` for networks that are read out from the inputs and from every layer.

    A part of the first layer's units learn components of the inputs, as the last layer learns those
    of the layer below it; all others learn clusters. θ also has the gains of the readout, so that
    meta-training weighs the layers against each other and against the penalty of the regression,
    and the sharpness of the competition.

    Args:
        settings: the width of the top layer and the size of a step.
    """

    def __init__(self, settings: HebbianSettings = HebbianSettings()) -> None:
        super().__init__(settings)
        self.gains = nn.Parameter(torch.tensor(GAINS))
        """Of the inputs, and of layers of each role."""
        self.sharpness = nn.Parameter(torch.zeros(len(ROLES)))
        """Logarithm of the sharpness of the competition, by role."""
        with torch.no_grad():
            for role, coefficients in START.items():
                for name, values in coefficients.items():
                    getattr(self, name)[ROLES.index(role)] = torch.tensor(values)

    def start(self, network: Network, tasks: int, generator: torch.Generator) -> HebbianState:
        """A state with newly drawn φ, read out by the gains of θ."""
        return self._read_out(super().start(network, tasks, generator))

    def step(self, network: Network, state: HebbianState, batch: Batch) -> HebbianState:
        """The state after one update on unlabelled inputs."""
        return self._read_out(super().step(network, state, batch))

    def populations(self, layer: int, layers: int, units: int) -> list[tuple[int, slice]]:
        """Roles of the units of a layer: two in the first one, where it is not the last too."""
        (role, every), *_ = super().populations(layer, layers, units)
        if role != ROLES.index("first"):
            return [(role, every)]
        components = round(COMPONENT_SHARE * units)
        return [(ROLES.index("last"), slice(0, components)), (role, slice(components, units))]

    def sharpness_of(self, role: int) -> Tensor:
        """Of the competition in layers of a role."""
        return self.sharpness[role].exp()

    def _read_out(self, state: HebbianState) -> HebbianState:
        """The state with the gains of θ in φ; hidden layers share theirs."""
        params = state["params"]
        hidden = len(params["weights"]) - 2
        inputs, first, between, last = self.gains.unbind()
        gains = [inputs, *[first] * (hidden >= 0), *[between / math.sqrt(max(hidden, 1))] * hidden]
        readout = torch.stack([*gains, last]).expand(len(state["age"]), -1)
        return {**state, "params": {**params, "readout": readout}}
