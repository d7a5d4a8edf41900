"""A Hebbian learner whose embedding is all layers: what one layer loses, another keeps.

Shapes: T tasks, L layers.
"""

import math

import torch
from torch import Tensor, nn

from lit_lul.learners.hebbian import ROLES, HebbianRule, HebbianSettings, HebbianState
from lit_lul.learners.learner import Batch, register
from lit_lul.networks.network import Network

CLUSTERS = {
    "inputs": [1.3, 0.6],
    "signals": [0.1, 0.4, 1.1, -0.3, 0.2, 0.0],
    "inhibition": [0.6, 0.05],
    "decay": [-0.7, 0.1],
    "biases": [-0.4],
    "slowing": [-4.2],
    "sharpness": 0.4,
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
START = {"first": CLUSTERS, "hidden": CLUSTERS, "last": COMPONENTS}
"""Initial coefficients by role, rounded from those of trials: sparse layers whose units compete,
so that each responds to a cluster of the layer below, and a nearly linear layer on top."""


@register
class LayeredHebbianRule(HebbianRule):
    """`HebbianRule` for networks that are read out from the inputs and from every layer.

    θ also has the gains of the readout, so that meta-training weighs the layers against each other
    and against the penalty of the regression, and the sharpness of the competition.

    Args:
        settings: the width of the top layer and the size of a step.
    """

    def __init__(self, settings: HebbianSettings = HebbianSettings()) -> None:
        super().__init__(settings)
        self.gains = nn.Parameter(torch.tensor([1.2, 0.6, 0.4, 0.5]))
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
