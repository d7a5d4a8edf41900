"""Trees of tensors: nested dicts, tuples and lists of plain values, with tensors as leaves.

A learner's state, a network's parameters and the draws of a task are such trees: one function
moves, detaches or slices any of them, and `torch.save` writes them without pickling classes.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

Tree: TypeAlias = Any
"""A tensor, a plain value, or a dict, tuple or list of trees."""


def map_tensors(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """The tree with `function` applied to every tensor; other leaves are kept."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {name: map_tensors(function, part) for name, part in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [map_tensors(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


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
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat(trees)
    if isinstance(first, dict):
        return {name: concatenate([tree[name] for tree in trees]) for name in first}
    parts = [concatenate(list(part)) for part in zip(*trees, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
