"""The command `import`: θ that the paper's authors released, as a file of this package."""

from pathlib import Path

import torch
from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.files.tf_checkpoint import read_checkpoint
from lit_lul.files.theta import save_learner
from lit_lul.learners.metz.released import from_released


def import_released(checkpoint: Path, rule: Path) -> None:
    """Read θ from a TensorFlow checkpoint of the authors' code, and write it as safetensors.

    Args:
        checkpoint: the checkpoint as TensorFlow names it, such as tf_graph_data.ckpt, beside which
            there are files with .index and .data-00000-of-00001 at the end of the name.
        rule: the file to write, with the suffix .safetensors; an earlier one is replaced.

    Raises:
        InvalidInput: when the checkpoint is missing, damaged or of version 1, or a variable of θ is
            missing or of another shape. Nothing is written then.
    """
    if rule.suffix != ".safetensors":
        raise InvalidInput(f"{rule}: expected a name with the suffix .safetensors")
    variables = {n: torch.from_numpy(v.copy()) for n, v in read_checkpoint(checkpoint).items()}
    try:
        learner = from_released(variables)
    except InvalidInput as error:
        raise InvalidInput(f"{checkpoint}: {error}") from error
    save_learner(learner, rule)
    count = sum(parameter.numel() for parameter in learner.parameters())
    Console(soft_wrap=True, highlight=False).print(f"θ  {rule}  ({count:,} numbers)")
