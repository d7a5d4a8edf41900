"""Training a base model on a user's rows with a rule, and embedding them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from lit_lul.data.image_datasets import ImageSource, load_images
from lit_lul.errors import InvalidInput
from lit_lul.evaluation.rollout import rollout
from lit_lul.files.atomic import replace_file
from lit_lul.files.phi import save_phi
from lit_lul.files.rows import load_rows
from lit_lul.files.theta import load_rule
from lit_lul.learners.update_rule import UnsupervisedUpdate
from lit_lul.networks.mlp import MLP, Phi


class Applied(NamedTuple):
    """A base model that a rule has trained, and what it makes of its data."""

    base_model: MLP
    """The architecture, (N_0, hidden units, E)."""
    phi: Phi
    """Its φ, of one task (T = 1)."""
    embeddings: Tensor
    """(n, E), in the order of the rows."""


def predict(
    rule: Path,
    output_folder: Path,
    data_path: Path | None = None,
    images: ImageSource | None = None,
    data_root: str | None = None,
    hidden_units: list[int] = [128, 128, 128, 128],
    activation: str = "relu",
    inner_steps: int = 100,
    batch_size: int = 128,
    seed: int = 0,
) -> None:
    """Train a fresh base model on unlabelled rows with a rule, and write embeddings and φ.

    `embeddings.npy` and `phi.safetensors` in the output folder replace those of an earlier run.

    Args:
        rule: the name of a rule that ships with the package, or θ as safetensors, from a fit.
        output_folder: where embeddings and φ are written.
        data_path: rows as .npy, .csv or .parquet; values in [0, 1], or of type uint8.
        images: instead of rows, images of a hub id or a folder; embedded class by class.
        data_root: folder that is searched for the images' dataset first.
        hidden_units: units of the base model's hidden layers; the embedding comes on top.
        activation: its nonlinearity.
        inner_steps: inner steps, one minibatch each.
        batch_size: B, rows per inner step.
        seed: determines the first φ, the order of the inputs and the minibatches.

    Raises:
        InvalidInput: for a file, folder or number that a person must change.
    """
    learned = load_rule(rule)
    x = _load(data_path, images, data_root)
    try:
        output_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{output_folder}: expected a folder to write to ({error})") from error
    applied = apply_rule(
        learned, x, hidden_units, activation, inner_steps, batch_size, seed, progress=True
    )
    embeddings, phi = write_applied(applied, output_folder)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"embeddings  {embeddings}\nφ           {phi}")


def _load(data_path: Path | None, images: ImageSource | None, data_root: str | None) -> Tensor:
    """The user's data (n, N_0), in [0, 1]."""
    if data_path is not None and images is None:
        return load_rows(data_path)
    if images is not None and data_path is None:
        return load_images(images, data_root).images.flatten(1).float() / 255
    raise InvalidInput("predict: expected one of data_path and images")


def apply_rule(
    rule: UnsupervisedUpdate,
    x: Tensor,
    hidden_units: Sequence[int] = (128, 128, 128, 128),
    activation: str = "relu",
    inner_steps: int = 100,
    batch_size: int = 128,
    seed: int = 0,
    progress: bool = False,
) -> Applied:
    """Train a fresh base model on the rows with the rule, on the rule's device, and embed them.

    The rule sees the inputs in a random order, as it did in meta-training (section 4.2): it looks
    across neighbouring units (G.8), and must not find neighbouring pixels there. φ is for the
    inputs as they come.

    All rows are embedded in one forward pass. The base model's batch norm uses the statistics of
    the batch at hand, here those of all n rows, so a row's embedding depends on the others: some
    of the rows alone, or one by one, would be embedded otherwise.

    Args:
        rule: the rule; its E is the width of the embedding.
        x: unlabelled rows, (n, N_0), in [0, 1].
        hidden_units: units of the base model's hidden layers.
        activation: its nonlinearity.
        inner_steps: inner steps; 0 leaves φ as it was drawn.
        batch_size: B. Every epoch takes the rows in a new order, whole minibatches only.
        seed: determines the first φ, the order of the inputs and the minibatches.
        progress: whether to show a progress bar.

    Raises:
        InvalidInput: for a number out of range, or when the embeddings are not finite.
    """
    if not 2 <= batch_size <= len(x):
        raise InvalidInput(f"batch_size {batch_size}: expected 2 to {len(x)}, the number of rows")
    if inner_steps < 0:
        raise InvalidInput(f"inner_steps {inner_steps}: expected 0 or more")
    if not 0 <= seed < 2**63:
        raise InvalidInput(f"seed {seed}: expected 0 to 2**63 - 1")
    device = next(rule.parameters()).device
    base_model = MLP((x.shape[1], *hidden_units, rule.settings.embedding_units), activation)
    generator = torch.Generator().manual_seed(seed)
    phi = base_model.init(1, generator).map(lambda p: p.to(device))
    order = torch.randperm(x.shape[1], generator=generator)
    phi = _reordered(phi, order.to(device))
    batches = (rows[..., order].to(device) for rows in _minibatches(x, batch_size, generator))
    steps = rollout(rule, base_model, phi, lambda: next(batches), range(1, inner_steps + 1))
    console = Console(stderr=True)
    for _, after in track(steps, "Inner steps", inner_steps, console=console, disable=not progress):
        phi = after
    phi = _reordered(phi, order.argsort().to(device))
    with torch.no_grad():
        embeddings = base_model.embed(phi, x.to(device).unsqueeze(0)).squeeze(0)
    if not embeddings.isfinite().all():
        raise InvalidInput(f"inner_steps {inner_steps}: the embeddings are not finite by then")
    return Applied(base_model, phi, embeddings)


def write_applied(applied: Applied, folder: Path | str) -> tuple[Path, Path]:
    """Write `embeddings.npy` (n, E) float32 and `phi.safetensors`, each whole or not at all.

    Returns:
        Where the embeddings lie, and where φ lies.

    Raises:
        InvalidInput: when a file cannot be written.
    """
    embeddings, phi = Path(folder) / "embeddings.npy", Path(folder) / "phi.safetensors"
    save_phi(applied.phi, applied.base_model, phi)
    with replace_file(embeddings) as temporary:
        np.save(temporary, applied.embeddings.cpu().numpy())
    return embeddings, phi


def _reordered(phi: Phi, order: Tensor) -> Phi:
    """φ of the same network with its inputs in another order, (N_0,)."""
    weights, backward = phi.weights, phi.backward_weights
    return Phi(
        (weights[0][:, order], *weights[1:]),
        phi.biases,
        (backward[0][:, order], *backward[1:]),
    )


def _minibatches(x: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Minibatches (1, B, N_0) without end: epochs of x (n, N_0) in ever new orders."""
    while True:
        order = torch.randperm(len(x), generator=generator)
        for batch in range(len(x) // batch_size):
            yield x[order[batch * batch_size :][:batch_size]].unsqueeze(0)
