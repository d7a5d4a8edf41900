"""A learner on a user's rows as a scikit-learn transformer, and its file: safetensors, no pickle.

Shapes: n rows, N_0 columns, T networks of E embedding units.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from lit_lul.apply.rule import embed_rows, row_network, train_networks
from lit_lul.constraints import PositiveInt, check_arguments
from lit_lul.devices import find_device
from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import replace_file
from lit_lul.files.phi import network_metadata, stored_network
from lit_lul.files.tensors import check_shapes, read_tensors
from lit_lul.files.theta import load_rule
from lit_lul.learners.learner import Learner
from lit_lul.networks.network import Readout, RowNetwork
from lit_lul.trees import Tree, first_tensor, map_tensors, tensors_of

FEATURE_NORM = 4.0
"""Root mean square norm of the features of a network that is read out from all layers; classifiers'
default penalties suit it."""
SCALE_ROWS = 2048
"""Rows that this norm is measured on, if there are more."""
FORMAT = "lit_lul transformer 1"
ROUNDING = 1e-6
"""With `scale=None`, values outside [0, 1] by up to this are accepted."""


class RuleTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Features that a learned rule finds in unlabelled rows, as a scikit-learn transformer.

    `fit` scales the columns, trains new networks on the rows with the rule, and keeps φ, the scale
    and the batch statistics of the rows; labels are ignored. `transform` embeds each row on its
    own, so that its features do not depend on the rows that are with it. A rule that reads out all
    layers gives many small features; they are scaled to one norm, which suits default penalties.

    Args:
        rule: the name of a shipped rule, a file of θ, or a learner, which is left as it is.
        hidden_units: units of the hidden layers of each network; the embedding comes on top. A
            rule that trains networks without such layers gets one with this number of units.
        inner_steps: minibatches that the rule trains on.
        batch_size: rows of a minibatch, or all rows if there are fewer.
        n_networks: T, networks that are trained at once and whose features are joined. Each has its
            own initial φ, order of the columns and minibatches.
        layers: `embedding`, what the rule reads out of each network, in most the top layer, or
            `all`, the hidden layers and the top one.
        scale: how columns come into [0, 1], as in meta-training. `minmax`: each by its own range in
            the rows of `fit`, a constant one as 0; `global`: all by one common range; None: they
            must be there already. Other rows are scaled likewise, and not clipped.
        random_state: a seed for the same result again, a NumPy `RandomState`, or None. The first
            network is that of `apply_rule` with the same seed, apart from that scale.
        device: cpu, cuda or cuda:N; auto uses a GPU if there is one.
        verbose: whether to show progress bars.

    Attributes:
        network_: the architecture, an `MLP` or what the rule trains in its place.
        params_: φ of T networks, on the CPU.
        statistics_: batch statistics of the rows of `fit`, on the CPU.
        minimum_: what is subtracted from every column, (N_0,).
        range_: what the difference is divided by, (N_0,).
        n_features_in_: N_0.
        feature_names_in_: names of the columns, if `fit` had a table with names.
    """

    def __init__(
        self,
        rule: str | Path | Learner = "competitive",
        *,
        hidden_units: Sequence[int] = (128, 128, 128, 128),
        inner_steps: int = 100,
        batch_size: int = 128,
        n_networks: PositiveInt = 1,
        layers: Literal["embedding", "all"] = "embedding",
        scale: Literal["minmax", "global"] | None = "minmax",
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.rule = rule
        self.hidden_units = hidden_units
        self.inner_steps = inner_steps
        self.batch_size = batch_size
        self.n_networks = n_networks
        self.layers = layers
        self.scale = scale
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train networks on rows (n, N_0); `y` is ignored.

        Raises:
            InvalidInput: for an invalid parameter or rule, values outside [0, 1] if they are not
                scaled, or embeddings that are not finite.
            ValueError: for missing values, infinite values, or fewer than two rows.
            TypeError: for a sparse matrix.
        """
        check_arguments(RuleTransformer.__init__, self.get_params(deep=False))
        device = find_device(self.device)
        rows = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=2)
        self._fit_scale(rows)
        x = self._scaled(rows)
        rule = self.rule if isinstance(self.rule, Learner) else load_rule(self.rule)
        rule = deepcopy(rule).to(device, torch.float32)
        self.network_ = row_network(rule, x.shape[1], self.hidden_units)
        self.params_, self.statistics_ = map_tensors(
            Tensor.cpu,
            train_networks(
                rule,
                self.network_,
                x,
                self.inner_steps,
                min(self.batch_size, len(x)),
                self._seeds(),
                self.verbose,
            ),
        )
        if self.network_.readout is not Readout.TOP:
            self._scale_readout(x[:: max(1, len(x) // SCALE_ROWS)])
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Features (n, `n_features_out`) of rows (n, N_0), network by network.

        They are computed in double precision: a row gets the same features alone and among others.

        Errors are those of `fit`, and a ValueError for another number of columns.
        """
        check_is_fitted(self, "statistics_")
        check_arguments(RuleTransformer.__init__, self.get_params(deep=False))
        device = find_device(self.device)
        x = self._scaled(validate_data(self, X, dtype=(np.float64, np.float32), reset=False))
        params, statistics = map_tensors(
            lambda tensor: tensor.to(device, torch.float64), (self.params_, self.statistics_)
        )
        hidden = self.layers == "all"
        chunks = embed_rows(self.network_, params, statistics, x, hidden, self.verbose)
        u: NDArray[np.float32] = torch.cat([part.float().cpu() for part in chunks]).numpy()
        return u

    @property
    def _n_features_out(self) -> int:
        """Number of features, for scikit-learn."""
        of_network = self.network_.embedding_width
        if self.layers == "all":
            of_network = sum(self.network_.sizes[1:])
        return len(first_tensor(self.params_)) * of_network

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn should know: features are float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _fit_scale(self, rows: NDArray[Any]) -> None:
        """Choose what brings columns into [0, 1]."""
        low, high = rows.min(0).astype(np.float64), rows.max(0).astype(np.float64)
        if self.scale == "global":
            low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
        elif self.scale is None:
            low, high = np.zeros_like(low), np.ones_like(high)
        self.minimum_ = low
        self.range_ = np.where(high > low, high - low, 1.0)

    def _scaled(self, rows: NDArray[Any]) -> Tensor:
        """Rows (n, N_0) as inputs of a network, float32."""
        if self.scale is None and len(rows):
            low, high = rows.min(), rows.max()
            if low < -ROUNDING or high > 1 + ROUNDING:
                raise InvalidInput(
                    f"values from {low:g} to {high:g}: expected values in [0, 1] with scale=None"
                )
        x = np.empty(rows.shape, np.float32)
        np.subtract(rows, self.minimum_, out=x, casting="same_kind")
        np.divide(x, self.range_, out=x, casting="same_kind")
        return torch.from_numpy(x)

    def _scale_readout(self, x: Tensor) -> None:
        """Scale the gains of each network, so that its features have the norm `FEATURE_NORM`."""
        u = torch.cat(list(embed_rows(self.network_, self.params_, self.statistics_, x)))
        of_networks = (u - u.mean(0)).unflatten(1, (len(self.params_["readout"]), -1))
        norms = of_networks.square().sum(-1).mean(0).sqrt()
        factors = torch.where(norms > ROUNDING, FEATURE_NORM / norms, 1.0)
        self.params_["readout"] = self.params_["readout"] * factors[:, None]

    def _seeds(self) -> list[int]:
        """A seed for each network."""
        first = self.random_state
        if not isinstance(first, Integral):
            first = check_random_state(first).randint(2**31)
        others = np.random.SeedSequence(first).generate_state(self.n_networks - 1, np.uint64)
        return [int(first), *(int(seed) for seed in others >> np.uint64(1))]


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
