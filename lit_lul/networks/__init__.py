"""Networks that learners train; their parameters are φ."""

from lit_lul.networks.mlp import MLP, MLPs
from lit_lul.networks.network import Activations, Network, Networks, Params, Statistics

__all__ = ["MLP", "Activations", "MLPs", "Network", "Networks", "Params", "Statistics"]
