"""Communication between the ranks of a run."""

from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def reduce(value: Tensor, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    """All-reduce of every rank's value (...), by default the sum; overwrites `value`."""
    if dist.is_initialized():
        dist.all_reduce(value, op)
    return value


def gather(value: T) -> list[T]:
    """All ranks' values on rank 0, by rank; an empty list on others. All ranks must call it.

    Tensors within the value should be on the CPU.
    """
    if not dist.is_initialized():
        return [value]
    group = dist.new_group(backend="gloo")
    values: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values, dst=0, group=group)
    dist.destroy_process_group(group)
    return values or []
