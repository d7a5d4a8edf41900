"""Networks that learners train; their parameters are φ."""

from lit_lul.networks.linear import Linear, Linears
from lit_lul.networks.mlp import MLP, MLPs
from lit_lul.networks.network import Activations, Network, Networks, Params, Statistics
from lit_lul.networks.plain_mlp import PlainMLP, PlainMLPs

__all__ = [
    "MLP",
    "Activations",
    "Linear",
    "Linears",
    "MLPs",
    "Network",
    "Networks",
    "Params",
    "PlainMLP",
    "PlainMLPs",
    "Statistics",
]
