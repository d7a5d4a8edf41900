"""The command `predict`: apply a rule to a user's rows or images and write the results."""

from pathlib import Path

from rich.console import Console

from lit_lul.apply.rows import load_rows
from lit_lul.apply.rule import apply_rule, write_applied
from lit_lul.data.image_datasets import ImageSource, load_images
from lit_lul.devices import find_device
from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_rule
from lit_lul.networks.mlp import Activation


def predict(
    rule: Path,
    output_folder: Path,
    data_path: Path | None = None,
    images: ImageSource | None = None,
    data_root: str | None = None,
    hidden_units: list[int] = [128, 128, 128, 128],
    activation: Activation = "relu",
    inner_steps: int = 100,
    batch_size: int = 128,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Train a new network on unlabelled rows with a rule, and write embeddings and φ.

    `embeddings.npy` and `phi.safetensors` in the output folder replace those of an earlier run.

    Args:
        rule: the name of a rule that ships with the package, or θ as safetensors, from a fit.
        output_folder: folder for embeddings and φ.
        data_path: rows as .npy, .csv or .parquet; values in [0, 1], or of type uint8.
        images: instead of rows, images of a hub id or a folder; embedded class by class.
        data_root: folder that is searched for the images first.
        hidden_units: units of the network's hidden layers; the embedding comes on top.
        activation: its nonlinearity.
        inner_steps: number of inner steps, one minibatch each.
        batch_size: B, rows per inner step.
        seed: determines the initial φ, the order of the inputs and the minibatches.
        device: cpu, cuda or cuda:N; auto uses a GPU if there is one.
    """
    learner = load_rule(rule).to(find_device(device))
    if data_path is not None and images is None:
        x = load_rows(data_path)
    elif images is not None and data_path is None:
        x = load_images(images, data_root).images.flatten(1).float() / 255
    else:
        raise InvalidInput("predict: expected one of data_path and images")
    try:
        output_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{output_folder}: expected a folder to write to ({error})") from error
    applied = apply_rule(
        learner, x, hidden_units, activation, inner_steps, batch_size, seed, progress=True
    )
    embeddings, phi = write_applied(applied, output_folder)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"embeddings  {embeddings}\nφ           {phi}")
