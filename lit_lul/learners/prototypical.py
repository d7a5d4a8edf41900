"""Prototypical networks: an embedding that needs no inner steps (Snell et al. 2017)."""

from lit_lul.learners.learned_start import LearnedStart, StartSettings
from lit_lul.learners.learner import Batch, State, register
from lit_lul.networks.network import Network


@register
class PrototypicalNetwork(LearnedStart):
    """A network whose φ is θ; the objective `Prototypes` classifies by its embedding.

    Inner steps change nothing, so that unrolls of none are enough.

    Args:
        settings: the network; its `embedding_units` are those that distances are measured in.
    """

    settings_class = StartSettings

    def __init__(self, settings: StartSettings = StartSettings(embedding_units=64)) -> None:
        super().__init__(settings)

    def step(self, network: Network, state: State, batch: Batch) -> State:
        """The same state."""
        return state
