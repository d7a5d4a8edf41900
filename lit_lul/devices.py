"""Devices by name, and what is fast on them."""

import os
import shutil

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


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices natively; others are slower than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "sve_bf16"))


def has_compiler() -> bool:
    """Whether there is the C++ compiler that compiled kernels need."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++"))
