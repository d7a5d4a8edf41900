"""The norm of hidden states, with or without a relu, and its compiled kernels.

What automatic differentiation saves and reads for a normalisation costs more time than the
convolutions do. So `compile_norms` replaces it by a forward and a backward pass written in plain
PyTorch, each compiled into loops that read their input twice. On CPUs, steps without a gradient
use PyTorch's own group norm all the same: calling a compiled kernel costs what its loops gain.

Shapes: T tasks, N units, B examples, C channels.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lit_lul.errors import InvalidInput

NORM_EPS = 1e-3


class Norm(nn.Module):
    """Normalises every channel over the units and batch of a task; adds an offset β, no scale.

    Args:
        channels: C.
        relu: whether a relu follows.
    """

    ones: Tensor

    def __init__(self, channels: int, relu: bool = False) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(channels))
        self.register_buffer("ones", torch.ones(channels), persistent=False)
        self.relu = relu
        self.kernels: Kernels | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (T, N, B, C), keeping its dtype."""
        if self.kernels is not None and (x.is_cuda or torch.is_grad_enabled()):
            # torch leaves `apply` without types
            normed: Tensor = _CompiledNorm.apply(  # type: ignore[no-untyped-call]
                x, self.offset, self.kernels
            )
            return normed
        image = x.permute(0, 3, 1, 2)  # a channels-last view, which group_norm takes without a copy
        normed = F.group_norm(image, len(self.offset), self.ones, self.offset, NORM_EPS)
        if self.relu:
            normed.relu_()  # group_norm keeps its input only, so its output may be overwritten
        return normed.permute(0, 2, 3, 1).to(x.dtype)


class Kernels(NamedTuple):
    """The forward and the backward pass of a norm."""

    forward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, Tensor]]


def compile_norms(module: nn.Module) -> None:
    """Make every `Norm` in a module use compiled kernels; they are compiled on their first call.

    Args:
        module: must be on its final device, where one kernel is compiled as a test.

    Raises:
        InvalidInput: when the test fails.
    """
    device = next(module.parameters()).device
    try:
        torch.compile(normalise)(
            torch.zeros(1, 2, 2, 2, device=device), torch.zeros(2, device=device)
        )
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        compiler = "C++ compiler and Triton" if device.type == "cuda" else "C++ compiler"
        raise InvalidInput(
            f"model.compile: expected a working {compiler}, or set it to false ({reason})"
        ) from error
    torch._dynamo.config.recompile_limit = 64  # sizes that are one or equal compile separately
    for norm in module.modules():
        if isinstance(norm, Norm):
            norm.kernels = _compiled(norm.relu)


@functools.cache
def _compiled(relu: bool) -> Kernels:
    forward = torch.compile(normalise_relu if relu else normalise, dynamic=True)
    backward = torch.compile(normalise_relu_backward if relu else normalise_backward, dynamic=True)
    return Kernels(forward, backward)


def normalise(x: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised x (T, N, B, C), and the mean and scale of each channel, (T, 1, 1, C)."""
    wide = _widen(x)
    mean = _mean(wide)
    scale = torch.rsqrt((_mean(wide.square()) - mean.square()).clamp(min=0) + NORM_EPS)
    return (wide * scale + (offset - mean * scale)).to(x.dtype), mean, scale


def normalise_relu(x: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`normalise`, followed by a relu."""
    normed, mean, scale = normalise(x, offset)
    return F.relu(normed), mean, scale


def normalise_backward(
    grad: Tensor, x: Tensor, offset: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient of x (T, N, B, C), and of the offset, the latter averaged over units and batch."""
    return _backward(_widen(grad), x, mean, scale)


def normalise_relu_backward(
    grad: Tensor, x: Tensor, offset: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """`normalise_backward` of a norm that is followed by a relu."""
    positive = _widen(x) * scale + (offset - mean * scale) > 0
    return _backward(torch.where(positive, _widen(grad), 0.0), x, mean, scale)


def _backward(grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    wide = _widen(x)
    along_offset = _mean(grad)
    along_scale = (_mean(grad * wide) - mean * along_offset) * scale.square() * scale
    constant = scale * along_offset - mean * along_scale
    return (scale * grad - (wide * along_scale + constant)).to(x.dtype), along_offset


def _mean(x: Tensor) -> Tensor:
    """Mean over batch, then units: two shorter sums compile to faster loops than one."""
    return x.mean(2, keepdim=True).mean(1, keepdim=True)


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _CompiledNorm(torch.autograd.Function):
    """Calls the kernels with plain contiguous tensors, which avoids most recompilations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offset: Tensor, kernels: Kernels) -> Tensor:
        x = x.contiguous().data
        normed, mean, scale = kernels.forward(x, offset.data)
        ctx.kernels = kernels
        ctx.save_for_backward(x, offset, mean, scale)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        saved = [tensor.data for tensor in ctx.saved_tensors]
        back, along_offset = ctx.kernels.backward(grad.contiguous().data, *saved)
        examples = grad.shape[1] * grad.shape[2]
        return back, along_offset.sum((0, 1, 2)) * examples, None
