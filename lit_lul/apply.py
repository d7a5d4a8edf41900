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
from lit_lul.evaluation.rollout import check_unlabelled, rollout
from lit_lul.files.atomic import replace_file
from lit_lul.files.phi import save_phi
from lit_lul.learners.learner import Learner
from lit_lul.networks.mlp import MLP, LayerStatistics, MLPParams
from lit_lul.trees import Tree, concatenate, tensors_of, to_device

Item = TypeVar("Item")

CHUNK = 8192
"""Number of rows that are embedded at once."""


class Applied(NamedTuple):
    """A network that a learner has trained on rows, and the embeddings of the rows."""

    network: MLP
    """The architecture, (N_0, hidden units, E)."""
    params: MLPParams
    """φ of one task (T = 1), for inputs in the order of the rows' columns."""
    statistics: LayerStatistics
    """Batch statistics of all rows; used for every embedding."""
    embeddings: Tensor
    """(n, E), in the order of the rows, on the device of φ; of a rule that reads out all layers
    (n, N_0 + ... + E)."""

    def embed(self, x: Tensor) -> Tensor:
        """Embed other rows of the same kind, (n, N_0) in [0, 1]: (n, E), on the device of φ.

        The embedding of a row does not depend on the other rows.

        Raises:
            InvalidInput: when rows have another number of inputs.
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
    activation: str = "relu",
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
        rule: a learner that needs no labels; its E is the width of the embedding.
        x: unlabelled rows, (n, N_0), in [0, 1].
        hidden_units: units of the network's hidden layers.
        activation: its nonlinearity.
        inner_steps: number of inner steps; 0 keeps the initial φ.
        batch_size: B. Every epoch shuffles the rows and drops an incomplete last minibatch.
        seed: determines the initial φ, the order of the inputs and the minibatches.
        progress: whether to show a progress bar.

    Raises:
        InvalidInput: for a number out of range, a learner that cannot train such a network, or
            embeddings that are not finite.
    """
    network = MLP((x.shape[1], *hidden_units, rule.embedding_units), activation)
    params, statistics = train_networks(rule, network, x, inner_steps, batch_size, [seed], progress)
    embeddings = torch.cat(tuple(embed_rows(network, params, statistics, x)))
    return Applied(network, params, statistics, embeddings)


def train_networks(
    rule: Learner,
    network: MLP,
    x: Tensor,
    inner_steps: int,
    batch_size: int,
    seeds: Sequence[int],
    progress: bool = False,
) -> tuple[MLPParams, LayerStatistics]:
    """Train T new networks on unlabelled rows (n, N_0), all at once on the device of θ.

    Each has a seed, which determines its initial φ, its order of the inputs and its minibatches, so
    that it does not depend on the others.

    Returns:
        φ of the T networks, for inputs in their original order, and batch statistics of all rows.

    Raises:
        InvalidInput: for a number out of range, a learner that cannot train such a network, or
            embeddings that are not finite.
    """
    check_unlabelled(rule)
    if not 2 <= batch_size <= len(x):
        raise InvalidInput(f"batch_size {batch_size}: expected 2 to {len(x)}, the number of rows")
    if inner_steps < 0:
        raise InvalidInput(f"inner_steps {inner_steps}: expected 0 or more")
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise InvalidInput(f"seed {seed}: expected 0 to 2**63 - 1")
    device = next(rule.parameters()).device
    rule.check(network)
    rule.prepare(compile=False)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    with torch.no_grad():
        state = concatenate([rule.start(network, 1, generator) for generator in generators])
    order = torch.stack([torch.randperm(x.shape[1], generator=g) for g in generators])
    state, order = to_device((_reordered(network, state, order), order), device)
    batches = [_minibatches(x, batch_size, generator) for generator in generators]

    def minibatch() -> Tensor:
        rows = torch.cat([next(of_network) for of_network in batches]).to(device)
        return rows.gather(-1, order.unsqueeze(1).expand(rows.shape))

    steps = rollout(rule, network, state, minibatch, range(1, inner_steps + 1))
    for _, after in _track(steps, "Inner steps", inner_steps, progress):
        state = after
    params = _reordered(network, rule.parameters_of(state), order.argsort(-1))
    statistics = _statistics(network, params, x)
    if not all(tensor.isfinite().all() for _, tensor in tensors_of([params, statistics])):
        raise InvalidInput(f"inner_steps {inner_steps}: the embeddings are not finite after them")
    return params, statistics


@torch.no_grad()
def embed_rows(
    network: MLP,
    params: MLPParams,
    statistics: LayerStatistics,
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
        inputs = rows.to(params["weights"][0]).unsqueeze(0)
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

    Raises:
        InvalidInput: when a file cannot be written.
    """
    embeddings, phi = Path(folder) / "embeddings.npy", Path(folder) / "phi.safetensors"
    save_phi(applied.params, applied.network, phi, applied.statistics)
    with replace_file(embeddings) as temporary:
        np.save(temporary, applied.embeddings.cpu().numpy())
    return embeddings, phi


@torch.no_grad()
def _statistics(network: MLP, params: MLPParams, x: Tensor) -> LayerStatistics:
    """Batch statistics of all rows (n, N_0), from one layer to the next, `CHUNK` rows at a time."""
    chunks = x.split(CHUNK)
    shares = [len(rows) / len(x) for rows in chunks]
    share = params["weights"][0].new_tensor(shares).view(-1, 1, 1, 1)
    statistics: LayerStatistics = ()
    for layer, weight in enumerate(params["weights"]):
        below: MLPParams = {
            "weights": params["weights"][:layer],
            "biases": params["biases"][:layer],
        }
        moments = []
        for rows in chunks:
            inputs = rows.to(weight).unsqueeze(0)
            m = network.activations(below, inputs, statistics).x[-1] @ weight
            moments.append(torch.var_mean(m, dim=-2, keepdim=True, correction=0))
        variances, means = (torch.stack(of_chunks) for of_chunks in zip(*moments, strict=True))
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        statistics = (*statistics, (mean, variance))
    return statistics


def _track(items: Iterable[Item], task: str, total: int, progress: bool) -> Iterator[Item]:
    """The items, with a progress bar on stderr if `progress`."""
    yield from track(items, task, total, console=Console(stderr=True), disable=not progress)


def _reordered(network: MLP, tree: Tree, order: Tensor) -> Tree:
    """A state or φ of T tasks with the inputs of each reordered by its `order`, (T, N_0).

    This reorders the first layer of everything that has the shapes of the weights: W, and what a
    learner keeps for every weight, such as V.
    """
    if isinstance(tree, dict):
        return {name: _reordered(network, part, order) for name, part in tree.items()}
    if isinstance(tree, tuple | list) and tree and isinstance(tree[0], Tensor):
        if tree[0].shape == (len(order), *network.sizes[:2]):
            index = order.unsqueeze(-1).expand(tree[0].shape)
            return type(tree)([tree[0].gather(1, index), *tree[1:]])
        return tree
    if isinstance(tree, tuple | list):
        return type(tree)([_reordered(network, part, order) for part in tree])
    return tree


def _minibatches(x: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless minibatches (1, B, N_0) of x (n, N_0), reshuffled in every epoch."""
    while True:
        order = torch.randperm(len(x), generator=generator)
        for batch in range(len(x) // batch_size):
            yield x[order[batch * batch_size :][:batch_size]].unsqueeze(0)
