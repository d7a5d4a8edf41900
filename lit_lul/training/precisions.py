"""Precisions of the trainer: which are supported, and which is fast on a machine."""

import torch

from lit_lul.devices import has_native_bf16
from lit_lul.errors import InvalidInput

PRECISIONS = ("32-true", "bf16-mixed", "64-true")
"""Precisions by Lightning's names; bf16-mixed keeps all but hidden states in float32."""


def check_precision(precision: object) -> None:
    """Check the trainer's precision, by any of Lightning's names for it.

    Raises:
        InvalidInput: for an unsupported precision.
    """
    if str(precision) not in (*PRECISIONS, "None", "32", "64", "bf16"):
        raise InvalidInput(f"trainer.precision {precision}: expected {', '.join(PRECISIONS)}")


def fast_precision(accelerator: str, compiled: bool) -> str:
    """The faster of 32-true and bf16-mixed, for the trainer's accelerator.

    On a CPU bf16 is faster with compiled norms and native products only.
    """
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    native = has_native_bf16(torch.device("cuda" if on_gpu else "cpu"))
    return "bf16-mixed" if native and (compiled or on_gpu) else "32-true"
