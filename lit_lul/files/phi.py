"""φ of one trained network as one safetensors file, with the network in its metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import replace_file
from lit_lul.files.tensors import check_shapes, read_tensors
from lit_lul.networks.mlp import MLP, LayerStatistics, MLPParams
from lit_lul.trees import tensors_of

FORMAT = "lit_lul phi 2"


def save_phi(
    params: MLPParams, network: MLP, path: Path | str, statistics: LayerStatistics | None = None
) -> None:
    """Write φ of one task (T = 1) and its network to one file, atomically.

    Layer l is `weights.{l - 1}` (N_{l-1}, N_l) and `biases.{l - 1}` (N_l,), and with statistics
    `statistics.{l - 1}.mean` and `.variance` (1, N_l); φ that all layers are read out from has
    `readout` (L + 1,). The metadata's `class` names the network, and `network` holds its fields as
    JSON.

    Args:
        params: φ.
        network: the network of φ.
        path: the file.
        statistics: batch statistics of the rows that φ was trained on, from `network.statistics`,
            to embed other rows with.

    Raises:
        InvalidInput: when the file cannot be written.
    """
    metadata = {"format": FORMAT, **network_metadata(network)}
    with replace_file(Path(path)) as temporary:
        save_file(_by_name(params, statistics), temporary, metadata)


def load_phi(path: Path | str) -> tuple[MLP, MLPParams, LayerStatistics | None]:
    """Rebuild a network, its φ and, where they were saved, its statistics, with T = 1.

    Raises:
        InvalidInput: when the file is missing, truncated, of another format, or of another class
            of network.
    """
    tensors, metadata = read_tensors(path, FORMAT)
    network = stored_network(path, metadata)
    params, statistics = network.init(1, torch.Generator()), None
    if "readout" in tensors:
        params["readout"] = torch.zeros(1, len(network.sizes))
    if any(name.startswith("statistics.") for name in tensors):
        statistics = network.statistics(params, torch.zeros(1, 1, network.inputs))
    check_shapes(path, tensors, _by_name(params, statistics))
    tensors = {name: tensor.unsqueeze(0) for name, tensor in tensors.items()}
    layers = range(len(network.sizes) - 1)
    params["weights"] = tuple(tensors[f"weights.{i}"] for i in layers)
    params["biases"] = tuple(tensors[f"biases.{i}"] for i in layers)
    if "readout" in params:
        params["readout"] = tensors["readout"]
    if statistics is not None:
        statistics = tuple(
            (tensors[f"statistics.{i}.mean"], tensors[f"statistics.{i}.variance"]) for i in layers
        )
    return network, params, statistics


def network_metadata(network: MLP) -> dict[str, str]:
    """Class and fields of a network, for the metadata of a file."""
    return {"class": type(network).__name__, "network": json.dumps(asdict(network))}


def stored_network(path: Path | str, metadata: Mapping[str, str]) -> MLP:
    """The network in a file's metadata.

    Raises:
        InvalidInput: when it is of another class, or its fields are invalid.
    """
    name = metadata.get("class")
    if name != MLP.__name__:
        raise InvalidInput(f"{path}: unknown network {name}, expected {MLP.__name__}")
    try:
        described = json.loads(metadata["network"])
        return MLP(**described | {"sizes": tuple(described["sizes"])})
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: expected the fields of an MLP ({reason})") from error


def _by_name(params: MLPParams, statistics: LayerStatistics | None) -> dict[str, Tensor]:
    """The tensors of one task by their names in the file, without the task axis."""
    tree: dict[str, object] = {**params}
    if statistics is not None:
        tree["statistics"] = [{"mean": mean, "variance": var} for mean, var in statistics]
    return {
        name: tensor.detach().squeeze(0).cpu().contiguous() for name, tensor in tensors_of(tree)
    }
