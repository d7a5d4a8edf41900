"""Trees of tensors: nested dicts, tuples and lists of plain values, with tensors as leaves.

A learner's state, a network's parameters and the draws of a task are such trees: one function
moves, detaches or slices any of them, and `torch.save` writes them without pickling classes.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_map, tree_map_only

Tree: TypeAlias = Any
"""A tensor, a plain value, or a dict, tuple or list of trees."""


def map_tensors(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """The tree with `function` applied to every tensor; other leaves are kept."""
    return tree_map_only(Tensor, function, tree)


def tensors_of(tree: Tree) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a tree with its dotted name, such as `weights.0`, in order."""
    if isinstance(tree, Tensor):
        yield "", tree
    elif isinstance(tree, dict | tuple | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, part in items:
            for name, tensor in tensors_of(part):
                yield f"{key}.{name}" if name else str(key), tensor


def first_tensor(tree: Tree) -> Tensor:
    """The first tensor of a tree, which has one; T, the dtype and the device are in it."""
    return next(tensor for _, tensor in tensors_of(tree))


def to_device(tree: Tree, device: torch.device) -> Tree:
    """The tree on a device.

    Copies from the CPU to a GPU use pinned memory and are asynchronous.
    """

    def move(tensor: Tensor) -> Tensor:
        if device.type == "cuda" and tensor.device.type == "cpu":
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)

    return map_tensors(move, tree)


def concatenate(trees: list[Tree]) -> Tree:
    """Trees of the same structure joined into one along the task axis, the first."""
    return tree_map(lambda *parts: torch.cat(parts), *trees)
