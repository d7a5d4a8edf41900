"""Measurements for benchmarks: seconds, limits of a machine, operations, bytes, memory."""

import multiprocessing
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.benchmark import Timer
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from lit_lul.learners import Batch, UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLP
from lit_lul.trees import to_device

PRODUCT_SIZE = 2048
COPY_BYTES = 2**28
HALF_CHANNELS = UpdateSettings(hidden_channels=32, error_channels=16, top_channels=32)


@dataclass(frozen=True)
class Case:
    """A rule with a network and sizes."""

    name: str
    network: MLP
    tasks: int
    batch_size: int
    rule: UpdateSettings = HALF_CHANNELS


@dataclass(frozen=True)
class Variant:
    """A way to run a case."""

    name: str
    compiled: bool
    dtype: torch.dtype = torch.float32


class Step:
    """One inner step of a case, with or without the gradient of θ."""

    def __init__(self, case: Case, variant: Variant, device: str) -> None:
        torch.manual_seed(0)
        self.network, self.variant, self.device = case.network, variant, device
        self.rule = UnsupervisedUpdate(case.rule).to(device)
        if variant.compiled:
            self.rule.prepare(compile=True)
        start = self.rule.start(case.network, case.tasks, torch.Generator().manual_seed(0))
        self.state = to_device(start, torch.device(device))
        x = torch.rand(case.tasks, case.batch_size, case.network.inputs, device=device)
        self.batch = Batch(x)

    def forward(self) -> None:
        """Without gradient."""
        with torch.no_grad(), self._precision():
            self.rule(self.network, self.state, self.batch)

    def gradient(self, recompute: bool = False, steps: int = 1) -> None:
        """With the gradient of θ through `steps` steps."""
        state = self.state
        with self._precision():
            for _ in range(steps):
                state = (
                    checkpoint(self.rule, self.network, state, self.batch, use_reentrant=False)
                    if recompute
                    else self.rule(self.network, state, self.batch)
                )
        weights = self.rule.parameters_of(state)["weights"]
        torch.stack([w.square().sum() for w in weights]).sum().backward()

    def _precision(self) -> AbstractContextManager[Any]:
        if self.variant.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device, self.variant.dtype)


def seconds(function: Callable[[], Any], min_run_time: float) -> float:
    """Median time of a call, after two warm-up calls."""
    function()
    function()
    timer = Timer("function()", globals={"function": function}, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=min_run_time).median)


def product_rate(device: str, dtype: torch.dtype, min_run_time: float) -> float:
    """Operations per second of a large square matrix product."""
    a = torch.rand(PRODUCT_SIZE, PRODUCT_SIZE, device=device).to(dtype)
    return 2 * PRODUCT_SIZE**3 / seconds(lambda: a @ a, min_run_time)


def copy_rate(device: str, min_run_time: float) -> float:
    """Bytes per second that a copy within the device's memory reads and writes."""
    source = torch.rand(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / seconds(lambda: target.copy_(source), min_run_time)


def operations(case: Case) -> int:
    """Floating point operations of the matrix products and convolutions of a forward pass."""
    step = Step(case, Variant("eager", compiled=False), "cpu")
    with FlopCounterMode(display=False) as counter:  # compiled code would fall back to eager
        step.forward()
    return int(counter.get_total_flops())


class _Bytes(TorchDispatchMode):
    """Sums the bytes that every operation reads and writes, except views."""

    def __init__(self) -> None:
        # torch leaves this constructor without types
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = (t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor))
            self.total += sum(t.numel() * t.element_size() for t in tensors)
        return result


def bytes_moved(call: Callable[[], Any]) -> int:
    """Bytes that an eager call reads and writes, counted for every operation."""
    counter = _Bytes()
    with counter, torch.autograd.set_multithreading_enabled(False):  # backward in this thread too
        call()
    return counter.total


def peak_memory(case: Case, device: str, recompute: bool, steps: int) -> int:
    """Bytes that an unroll and its gradient add to the peak, measured in a new process."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # no gaps in the heap to measure
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_memory, (case, device, recompute, steps))


def _peak_memory(case: Case, device: str, recompute: bool, steps: int) -> int:
    step = Step(case, Variant("eager", compiled=False), device)
    before = _peak(device)
    step.gradient(recompute, steps)
    return _peak(device) - before


def _peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
