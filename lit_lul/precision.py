"""Contexts that keep full precision, whatever precision the run has."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """A context that disables autocast on the device of `like`; used for all but hidden states."""
    return torch.autocast(like.device.type, enabled=False)


def forbid_tf32() -> None:
    """Disable TF32 in the convolutions of cuDNN, forward and backward.

    TF32 would round their inputs to ten bits of mantissa. For speed there is bf16-mixed, which
    lowers the precision of the hidden states only.
    """
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def float32_by_default() -> Iterator[None]:
    """A context in which new tensors are float32, so that a run in float64 has the same inputs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
