"""Devices by name, and what is fast or supported on a machine."""

import ctypes
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


PRECISIONS = ("32-true", "bf16-mixed", "64-true")
"""Precisions by Lightning's names; bf16-mixed keeps all but hidden states in float32."""


def check_precision(precision: object) -> None:
    """Check the trainer's precision, by any of Lightning's names for it."""
    if str(precision) not in (*PRECISIONS, "None", "32", "64", "bf16"):
        raise InvalidInput(f"trainer.precision {precision}: expected {', '.join(PRECISIONS)}")


def fast_precision(accelerator: str, compiled: bool) -> str:
    """The faster of 32-true and bf16-mixed, for the trainer's accelerator.

    On a CPU bf16 is faster with compiled norms and native products only.
    """
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    native = has_native_bf16(torch.device("cuda" if on_gpu else "cpu"))
    return "bf16-mixed" if native and (compiled or on_gpu) else "32-true"


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Make glibc reuse freed memory instead of returning it to the system.

    Above 32 MiB, which hidden states of several tasks exceed, glibc maps new pages for every
    tensor, and clearing them takes longer than computing the tensor. Other C libraries are not
    affected.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
