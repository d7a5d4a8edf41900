"""Applying a learner to a user's rows: train a network on them, then embed them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import replace_file
from lit_lul.files.phi import save_phi
from lit_lul.learners.learner import Learner
from lit_lul.learners.rollout import check_unlabelled, rollout
from lit_lul.networks.mlp import MLP, Activation
from lit_lul.networks.network import Params, RowNetwork, Statistics
from lit_lul.trees import concatenate, first_tensor, tensors_of, to_device

Item = TypeVar("Item")

CHUNK = 8192
"""Number of rows that are embedded at once."""


class Applied(NamedTuple):
    """A network that a learner has trained on rows, and the embeddings of the rows."""

    network: RowNetwork
    """The architecture."""
    params: Params
    """φ of one task (T = 1), for inputs in the order of the rows' columns."""
    statistics: Statistics
    """Batch statistics of all rows; used for every embedding."""
    embeddings: Tensor
    """(n, E), in the order of the rows, on the device of φ; of a rule that reads out all layers, a
    column for every unit."""

    def embed(self, x: Tensor) -> Tensor:
        """Embed other rows of the same kind, (n, N_0) in [0, 1]: (n, E), on the device of φ.

        The embedding of a row does not depend on the other rows.
        """
        if x.ndim != 2 or x.shape[1] != self.network.inputs:
            raise InvalidInput(
                f"rows of shape {list(x.shape)}: expected (n, {self.network.inputs})"
            )
        return torch.cat(tuple(embed_rows(self.network, self.params, self.statistics, x)))


def apply_rule(
    rule: Learner,
    x: Tensor,
    hidden_units: Sequence[int] = (128, 128, 128, 128),
    activation: Activation = "relu",
    inner_steps: int = 100,
    batch_size: int = 128,
    seed: int = 0,
    progress: bool = False,
) -> Applied:
    """Train a new network on unlabelled rows with a learner, then embed the rows.

    Runs on the device of θ. The learner sees the inputs in a random order, as in meta-training
    (section 4.2): the rule convolves over neighbouring units (G.8), which must not be neighbouring
    pixels. The returned φ takes inputs in their original order.

    The network's batch norm uses the statistics of all n rows, for these rows and for any others,
    so each row's embedding is independent of the other rows.

    Args:
        rule: a learner that needs no labels.
        x: unlabelled rows, (n, N_0), in [0, 1].
        hidden_units: units of the network's hidden layers. A rule that trains networks without
            such layers gets one with this number of units.
        activation: nonlinearity of an MLP.
        inner_steps: number of inner steps; 0 keeps the initial φ.
        batch_size: B. Every epoch shuffles the rows and drops an incomplete last minibatch.
        seed: determines the initial φ, the order of the inputs and the minibatches.
        progress: whether to show a progress bar.

    Raises:
        InvalidInput: for a number out of range, a learner that cannot train such a network, or
            embeddings that are not finite.
    """
    network = row_network(rule, x.shape[1], hidden_units, activation)
    params, statistics = train_networks(rule, network, x, inner_steps, batch_size, [seed], progress)
    embeddings = torch.cat(tuple(embed_rows(network, params, statistics, x)))
    return Applied(network, params, statistics, embeddings)


def row_network(
    rule: Learner, inputs: int, hidden_units: Sequence[int], activation: Activation = "relu"
) -> RowNetwork:
    """The network that a rule trains on rows where these hidden units are asked for."""
    check_unlabelled(rule)
    network = rule.network_for(MLP((inputs, *hidden_units, rule.embedding_units), activation))
    if not isinstance(network, RowNetwork):
        raise InvalidInput(f"{type(rule).__name__}: trains no network of rows")
    return network


def train_networks(
    rule: Learner,
    network: RowNetwork,
    x: Tensor,
    inner_steps: int,
    batch_size: int,
    seeds: Sequence[int],
    progress: bool = False,
) -> tuple[Params, Statistics]:
    """Train T new networks on unlabelled rows (n, N_0), all at once on the device of θ.

    Each has a seed, which determines its initial φ, its order of the inputs and its minibatches, so
    that it does not depend on the others.

    Returns:
        φ of the T networks, for inputs in their original order, and batch statistics of all rows.
    """
    if not 2 <= batch_size <= len(x):
        raise InvalidInput(f"batch_size {batch_size}: expected 2 to {len(x)}, the number of rows")
    if inner_steps < 0:
        raise InvalidInput(f"inner_steps {inner_steps}: expected 0 or more")
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise InvalidInput(f"seed {seed}: expected 0 to 2**63 - 1")
    device = next(rule.parameters()).device
    rule.prepare(compile=False)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    with torch.no_grad():
        state = concatenate([rule.start(network, 1, generator) for generator in generators])
    order = torch.stack([torch.randperm(x.shape[1], generator=g) for g in generators])
    state, order = to_device((network.reordered(state, order), order), device)
    batches = [_minibatches(x, batch_size, generator) for generator in generators]

    def minibatch() -> Tensor:
        rows = torch.cat([next(of_network) for of_network in batches]).to(device)
        return rows.gather(-1, order.unsqueeze(1).expand(rows.shape))

    steps = rollout(rule, network, state, minibatch, range(1, inner_steps + 1))
    for _, after in _track(steps, "Inner steps", inner_steps, progress):
        state = after
    params = network.reordered(rule.parameters_of(state), order.argsort(-1))
    with torch.no_grad():
        statistics = network.statistics_of_chunks(params, x.split(CHUNK))
    if not all(tensor.isfinite().all() for _, tensor in tensors_of([params, statistics])):
        raise InvalidInput(f"inner_steps {inner_steps}: the embeddings are not finite after them")
    return params, statistics


@torch.no_grad()
def embed_rows(
    network: RowNetwork,
    params: Params,
    statistics: Statistics,
    x: Tensor,
    hidden: bool = False,
    progress: bool = False,
) -> Iterator[Tensor]:
    """Features of rows (n, N_0) with fixed batch statistics.

    Computed with the dtype and on the device of φ.

    Yields:
        The features of the next `CHUNK` rows, (rows, T E): the embeddings of T networks, each
        preceded by its hidden layers if `hidden`.
    """
    chunks = x.split(CHUNK)
    for rows in _track(chunks, "Embedding", len(chunks), progress):
        inputs = rows.to(first_tensor(params)).unsqueeze(0)
        if hidden:
            layers = network.activations(params, inputs, statistics).x
            features = torch.cat(layers[1:], dim=-1)
        else:
            features = network.embed(params, inputs, statistics)
        yield features.transpose(0, 1).flatten(1)


def write_applied(applied: Applied, folder: Path | str) -> tuple[Path, Path]:
    """Write `embeddings.npy` (n, E) float32 and `phi.safetensors`, each atomically.

    Returns:
        The paths of the embeddings and of φ.
    """
    embeddings, phi = Path(folder) / "embeddings.npy", Path(folder) / "phi.safetensors"
    save_phi(applied.params, applied.network, phi, applied.statistics)
    with replace_file(embeddings) as temporary:
        np.save(temporary, applied.embeddings.cpu().numpy())
    return embeddings, phi


def _track(items: Iterable[Item], task: str, total: int, progress: bool) -> Iterator[Item]:
    """The items, with a progress bar on stderr if `progress`."""
    yield from track(items, task, total, console=Console(stderr=True), disable=not progress)


def _minibatches(x: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless minibatches (1, B, N_0) of x (n, N_0), reshuffled in every epoch."""
    while True:
        order = torch.randperm(len(x), generator=generator)
        for batch in range(len(x) // batch_size):
            yield x[order[batch * batch_size :][:batch_size]].unsqueeze(0)
