"""Where full precision is meant, whatever the run's precision is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast, on the device of a tensor: for φ and all but hidden states."""
    return torch.autocast(like.device.type, enabled=False)


def forbid_tf32() -> None:
    """Have float32 convolutions on a GPU compute in float32, forward and backward.

    cuDNN would round their inputs to TF32's ten bits of mantissa; a run that wants speed has
    bf16-mixed, in which hidden states alone lose precision.
    """
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Have new tensors in float32 also within a run in float64, so that its inputs are the same."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
