"""Networks that learners train; their parameters are φ."""

from lit_lul.networks.conv import ConvNet, ConvNets
from lit_lul.networks.linear import Linear, Linears
from lit_lul.networks.mlp import MLP, LinearHeadMLP, LinearHeadMLPs, MLPs
from lit_lul.networks.network import Activations, Network, Networks, Params, Statistics

__all__ = [
    "MLP",
    "Activations",
    "ConvNet",
    "ConvNets",
    "Linear",
    "LinearHeadMLP",
    "LinearHeadMLPs",
    "Linears",
    "MLPs",
    "Network",
    "Networks",
    "Params",
    "Statistics",
]
