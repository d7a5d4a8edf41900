"""Applying a learner to a user's rows: train a network on them, then embed them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.rollout import rollout
from lit_lul.files.atomic import replace_file
from lit_lul.files.phi import save_phi
from lit_lul.learners.learner import Learner
from lit_lul.networks.mlp import MLP, LayerStatistics, MLPParams
from lit_lul.trees import Tree, to_device

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
    """(n, E), in the order of the rows, on the device of φ."""

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
        return _embed(self.network, self.params, self.statistics, x)


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
    if not 2 <= batch_size <= len(x):
        raise InvalidInput(f"batch_size {batch_size}: expected 2 to {len(x)}, the number of rows")
    if inner_steps < 0:
        raise InvalidInput(f"inner_steps {inner_steps}: expected 0 or more")
    if not 0 <= seed < 2**63:
        raise InvalidInput(f"seed {seed}: expected 0 to 2**63 - 1")
    device = next(rule.parameters()).device
    network = MLP((x.shape[1], *hidden_units, rule.embedding_units), activation)
    rule.check(network)
    rule.prepare(compile=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        state = rule.start(network, 1, generator)
    order = torch.randperm(x.shape[1], generator=generator)
    state = to_device(_reordered(network, state, order), device)
    batches = (rows[..., order].to(device) for rows in _minibatches(x, batch_size, generator))
    steps = rollout(rule, network, state, lambda: next(batches), range(1, inner_steps + 1))
    console = Console(stderr=True)
    for _, after in track(steps, "Inner steps", inner_steps, console=console, disable=not progress):
        state = after
    params = _reordered(network, rule.parameters_of(state), order.argsort().to(device))
    with torch.no_grad():
        statistics = network.statistics(params, x.to(device).unsqueeze(0))
    embeddings = _embed(network, params, statistics, x)
    if not embeddings.isfinite().all():
        raise InvalidInput(f"inner_steps {inner_steps}: the embeddings are not finite after them")
    return Applied(network, params, statistics, embeddings)


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
def _embed(network: MLP, params: MLPParams, statistics: LayerStatistics, x: Tensor) -> Tensor:
    """Embeddings (n, E) of rows (n, N_0) with fixed batch statistics, `CHUNK` rows at a time."""
    device = params["weights"][0].device
    parts = [network.embed(params, rows.to(device)[None], statistics)[0] for rows in x.split(CHUNK)]
    return torch.cat(parts)


def _reordered(network: MLP, tree: Tree, order: Tensor) -> Tree:
    """A state or φ of one task with its inputs reordered by `order` (N_0,).

    This reorders the first layer of everything that has the shapes of the weights: W, and what a
    learner keeps for every weight, such as V.
    """
    if isinstance(tree, dict):
        return {name: _reordered(network, part, order) for name, part in tree.items()}
    if isinstance(tree, tuple | list) and tree and isinstance(tree[0], Tensor):
        if tree[0].shape == (1, *network.sizes[:2]):
            return type(tree)([tree[0][:, order], *tree[1:]])
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
