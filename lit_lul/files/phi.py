"""φ of one trained base model as one safetensors file with its architecture in the metadata."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lit_lul.files.atomic import replace_file
from lit_lul.files.theta import check_shapes, read_tensors
from lit_lul.networks.mlp import MLP, Phi

FORMAT = "lit_lul phi 1"


def save_phi(phi: Phi, base_model: MLP, path: Path | str) -> None:
    """Write φ of one task (T = 1) and its architecture to one file, whole or not at all.

    Layer l is `weights.{l - 1}` (N_{l-1}, N_l), `biases.{l - 1}` (N_l,) and
    `backward_weights.{l - 1}` (N_{l-1}, N_l); the metadata's `base_model` holds `sizes` and
    `activation` as JSON.

    Raises:
        InvalidInput: when the file cannot be written.
    """
    metadata = {"format": FORMAT, "base_model": json.dumps(vars(base_model))}
    with replace_file(Path(path)) as temporary:
        save_file(_by_name(phi), temporary, metadata)


def load_phi(path: Path | str) -> tuple[MLP, Phi]:
    """Rebuild a base model and its φ, with T = 1, from the file that `save_phi` wrote.

    Raises:
        InvalidInput: when the file is missing, truncated, or not such a file.
    """
    tensors, metadata = read_tensors(path, FORMAT)
    architecture = json.loads(metadata["base_model"])
    base_model = MLP(tuple(architecture["sizes"]), architecture["activation"])
    check_shapes(path, tensors, _by_name(base_model.init(1, torch.Generator())))
    layers = range(len(base_model.sizes) - 1)
    return base_model, Phi(
        *(tuple(tensors[f"{name}.{i}"].unsqueeze(0) for i in layers) for name in Phi._fields)
    )


def _by_name(phi: Phi) -> dict[str, Tensor]:
    """The tensors of one task's φ, without the task axis."""
    return {
        f"{name}.{i}": tensor.detach().squeeze(0).cpu().contiguous()
        for name, group in zip(Phi._fields, phi, strict=True)
        for i, tensor in enumerate(group)
    }
