"""How the ranks of a run put their values together."""

from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def reduce(value: Tensor, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    """The sum, or what `op` says, of every rank's value (...), in one round; it is overwritten."""
    if dist.is_initialized():
        dist.all_reduce(value, op)
    return value


def gather(value: T) -> list[T]:
    """Every rank's value on rank 0, by rank; nothing on the others. All ranks call it together.

    Tensors within the value should be on the CPU: they go through memory, not through devices.
    """
    if not dist.is_initialized():
        return [value]
    group = dist.new_group(backend="gloo")
    values: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values, dst=0, group=group)
    dist.destroy_process_group(group)
    return values or []
