"""Networks that learners train; their parameters are φ."""

from lit_lul.networks.competitive import CompetitiveNetwork, CompetitiveNetworks
from lit_lul.networks.conv import ConvNet, ConvNets
from lit_lul.networks.linear import Linear, Linears
from lit_lul.networks.mlp import MLP, LinearHeadMLP, LinearHeadMLPs, MLPs
from lit_lul.networks.network import (
    Activations,
    Network,
    Networks,
    Params,
    Readout,
    RowNetwork,
    Statistics,
)

__all__ = [
    "MLP",
    "Activations",
    "CompetitiveNetwork",
    "CompetitiveNetworks",
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
    "Readout",
    "RowNetwork",
    "Statistics",
]
