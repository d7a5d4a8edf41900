"""Fitted transformers as safetensors, to load them without unpickling."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.utils.validation import check_is_fitted

from lit_lul.apply.transformer import RuleTransformer
from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import replace_file
from lit_lul.files.phi import network_metadata, stored_network
from lit_lul.files.tensors import check_shapes, read_tensors
from lit_lul.networks.row_network import RowNetwork
from lit_lul.trees import Tree, first_tensor, map_tensors, tensors_of

FORMAT = "lit_lul transformer 1"


def save_transformer(transformer: RuleTransformer, path: Path | str) -> None:
    """Write a fitted transformer to one file, atomically; θ is not in it.

    Raises:
        InvalidInput: when a parameter is no plain value, such as a learner in place of a file of θ,
            or when the file cannot be written.
        NotFittedError: before `fit`.
    """
    check_is_fitted(transformer, "statistics_")
    fitted = {
        "params": transformer.params_,
        "statistics": transformer.statistics_,
        "minimum": torch.from_numpy(transformer.minimum_),
        "range": torch.from_numpy(transformer.range_),
    }
    parameters = transformer.get_params()
    metadata = {
        "format": FORMAT,
        **network_metadata(transformer.network_),
        "networks": str(len(first_tensor(transformer.params_))),
        "parameters": json.dumps({name: _plain(name, parameters[name]) for name in parameters}),
        "columns": json.dumps(getattr(transformer, "feature_names_in_", np.empty(0)).tolist()),
    }
    with replace_file(Path(path)) as temporary:
        save_file({name: t.contiguous() for name, t in tensors_of(fitted)}, temporary, metadata)


def load_transformer(path: Path | str) -> RuleTransformer:
    """Rebuild a fitted transformer, which gives the same features as the saved one.

    Raises:
        InvalidInput: when the file is missing, truncated or of another format.
    """
    tensors, metadata = read_tensors(path, FORMAT)
    network = stored_network(path, metadata)
    try:
        parameters = json.loads(metadata["parameters"])
        parameters["hidden_units"] = tuple(parameters["hidden_units"])
        transformer = RuleTransformer(**parameters)
        columns, networks = json.loads(metadata["columns"]), int(metadata["networks"])
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: expected a fitted transformer ({reason})") from error
    form = _form(network, networks)
    check_shapes(path, tensors, dict(tensors_of(form)))
    stored = (tensors[name] for name, _ in tensors_of(form))
    fitted = map_tensors(lambda _: next(stored), form)
    transformer.network_ = network
    transformer.params_, transformer.statistics_ = fitted["params"], fitted["statistics"]
    transformer.minimum_, transformer.range_ = fitted["minimum"].numpy(), fitted["range"].numpy()
    transformer.n_features_in_ = network.inputs
    if columns:
        transformer.feature_names_in_ = np.array(columns, dtype=object)
    return transformer


def _form(network: RowNetwork, networks: int) -> Tree:
    """A tree of the tensors that a file of so many networks holds, with other values."""
    params = network.init(networks, torch.Generator())
    of_columns = torch.empty(network.inputs, dtype=torch.float64)
    return {
        "params": params,
        "statistics": network.statistics(params, torch.zeros(1, 1, network.inputs)),
        "minimum": of_columns,
        "range": of_columns,
    }


def _plain(name: str, value: Any) -> Any:
    """A parameter as a JSON value."""
    value = value.item() if isinstance(value, np.generic) else value
    value = str(value) if isinstance(value, Path) else value
    try:
        json.dumps(value)
    except TypeError as error:
        given = type(value).__name__
        raise InvalidInput(f"{name} of type {given}: expected a plain value in a file") from error
    return value
