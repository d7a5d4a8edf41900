"""Devices by name."""

import torch

from lit_lul.errors import InvalidInput


def find_device(name: str) -> torch.device:
    """The device of a name: cpu, cuda, cuda:N, or auto for a GPU if there is one.

    Raises:
        InvalidInput: for another name, or a GPU that is missing.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ["cpu"] + ["cuda"] * bool(gpus) + [f"cuda:{i}" for i in range(gpus)]
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    if name not in names:
        raise InvalidInput(f"device {name!r}: expected auto or one of {', '.join(names)}")
    return torch.device(name)
