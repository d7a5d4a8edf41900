"""φ of one trained network as one safetensors file, with the network in its metadata."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import replace_file
from lit_lul.files.tensors import check_shapes, read_tensors
from lit_lul.networks.competitive import CompetitiveNetwork
from lit_lul.networks.mlp import MLP
from lit_lul.networks.network import Params, Readout, RowNetwork, Statistics
from lit_lul.trees import map_tensors, tensors_of

FORMAT = "lit_lul phi 2"
NETWORKS: dict[str, type[RowNetwork]] = {c.__name__: c for c in (MLP, CompetitiveNetwork)}
"""Classes of networks that files may name."""


def save_phi(
    params: Params, network: RowNetwork, path: Path | str, statistics: Statistics | None = None
) -> None:
    """Write φ of one task (T = 1) and its network to one file, atomically.

    Layer l of an MLP is `weights.{l - 1}` (N_{l-1}, N_l) and `biases.{l - 1}` (N_l,), and with
    statistics `statistics.{l - 1}.mean` and `.variance` (1, N_l); φ with a readout of several
    layers has their gains, `readout`. φ of other networks has the names of their parts. The
    metadata's `class` names the network, and `network` holds its fields as JSON.

    Args:
        params: φ.
        network: the network of φ.
        path: the file.
        statistics: batch statistics of the rows that φ was trained on, from `network.statistics`,
            to embed other rows with.
    """
    metadata = {"format": FORMAT, **network_metadata(network)}
    with replace_file(Path(path)) as temporary:
        save_file(_by_name(params, statistics), temporary, metadata)


def load_phi(path: Path | str) -> tuple[RowNetwork, Params, Statistics | None]:
    """Rebuild a network, its φ and, where they were saved, its statistics, with T = 1.

    Raises:
        InvalidInput: when the file is missing, truncated, of another format, or of another class
            of network.
    """
    tensors, metadata = read_tensors(path, FORMAT)
    network = stored_network(path, metadata)
    params, statistics = network.init(1, torch.Generator()), None
    if any(name.startswith("statistics.") for name in tensors):
        statistics = network.statistics(params, torch.zeros(1, 1, network.inputs))
    check_shapes(path, tensors, _by_name(params, statistics))
    stored = (tensors[name].unsqueeze(0) for name in _by_name(params, statistics))
    params, statistics = map_tensors(lambda _: next(stored), (params, statistics))
    return network, params, statistics


def network_metadata(network: RowNetwork) -> dict[str, str]:
    """Class and fields of a network, for the metadata of a file."""
    return {"class": type(network).__name__, "network": json.dumps(vars(network))}


def stored_network(path: Path | str, metadata: Mapping[str, str]) -> RowNetwork:
    """The network in a file's metadata."""
    name = metadata.get("class")
    if name not in NETWORKS:
        expected = " or ".join(NETWORKS)
        raise InvalidInput(f"{path}: unknown network {name}, expected {expected}")
    try:
        described = json.loads(metadata["network"])
        fields = {f: tuple(v) if isinstance(v, list) else v for f, v in described.items()}
        if "readout" in fields:
            fields["readout"] = Readout(described["readout"])
        return NETWORKS[name](**fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: expected the fields of {name} ({reason})") from error


def _by_name(params: Params, statistics: Statistics | None) -> dict[str, Tensor]:
    """The tensors of one task by their names in the file, without the task axis."""
    tree = dict(params)
    if statistics is not None:
        tree["statistics"] = [{"mean": mean, "variance": var} for mean, var in statistics]
    return {
        name: tensor.detach().squeeze(0).cpu().contiguous() for name, tensor in tensors_of(tree)
    }
