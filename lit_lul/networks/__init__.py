"""Networks that learners train; their parameters are φ."""

from lit_lul.networks.competitive import CompetitiveNetwork
from lit_lul.networks.conv import ConvNet, ConvNets
from lit_lul.networks.linear import Linear, Linears
from lit_lul.networks.mlp import MLP, LinearHeadMLP
from lit_lul.networks.mlps import LinearHeadMLPs, MLPs
from lit_lul.networks.network import Activations, Network, Networks, Params, Statistics
from lit_lul.networks.row_network import RowNetwork

__all__ = [
    "MLP",
    "Activations",
    "CompetitiveNetwork",
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
    "RowNetwork",
    "Statistics",
]
