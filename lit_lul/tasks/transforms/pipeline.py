"""The pipeline of transforms: draws what is random about them and applies them in order.

Shapes: T tasks, B examples, N_0 inputs, `...` any leading axes of examples.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.precision import float32_by_default, full_precision
from lit_lul.tasks.transforms.geometry import Geometry
from lit_lul.tasks.transforms.transform import Overlay, Tasks, Transform, Warp
from lit_lul.trees import Tree, map_tensors


class Targets(NamedTuple):
    """Regression targets of all transforms, concatenated into C columns."""

    values: Tensor
    """(..., T, B, C)."""
    is_target: Tensor
    """A mask of the columns that are targets of each task, (T, C) bool."""


class _Source(NamedTuple):
    """The images that examples are gathered from."""

    images: Tensor
    """(n, channels, side, side), or a table (n, N_0)."""
    class_start: Tensor
    members: Tensor
    """Each example's class within its task, (..., T, B)."""


class Pipeline:
    """A list of transforms, applied in order, each with its own random streams.

    A stream is determined by the seed, the transform's class and its index among those of its
    class, so adding a transform does not change the draws of the others.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)
        seen = Counter[str]()
        self._keys: list[int] = []
        for transform in self.transforms:
            name = type(transform).__name__
            self._keys.append(zlib.crc32(f"{name} {seen[name]}".encode()))
            seen[name] += 1

    def sample_tasks(self, tasks: Tasks, seed: Sequence[int]) -> list[Tree | None]:
        """Draw what is fixed for each task, on the CPU.

        Returns:
            The result of every transform's `sample_task`; None where no task is changed.
        """
        draws: list[Tree | None] = []
        overlaid = np.zeros(tasks.count, dtype=bool)
        for transform, key in zip(self.transforms, self._keys, strict=True):
            if tasks.images is None and transform.needs_images:
                name = type(transform).__name__
                raise InvalidInput(f"{name}: expected images, but these rows are not images")
            rng = np.random.default_rng([*seed, key])
            draw = transform.sample_task(replace(tasks, overlaid=overlaid), rng)
            if isinstance(transform, Overlay) and draw is not None:
                overlaid = overlaid.copy()
                overlaid[draw["tasks"].numpy()] = True
            draws.append(draw)
        return draws

    def without_augmentation(self, draws: Sequence[Tree | None]) -> list[Tree | None]:
        """Draws of tasks that leave out all transforms that change every example differently."""
        return [
            None if isinstance(transform, Warp | Overlay) or draws_for_examples(transform) else draw
            for transform, draw in zip(self.transforms, draws, strict=True)
        ]

    def realise(
        self,
        images: Tensor,
        class_start: Tensor,
        rows: Tensor,
        members: Tensor,
        draws: Sequence[Tree | None],
        seed: int,
    ) -> tuple[Tensor, Targets | None]:
        """Gather and transform examples, without waiting for the device.

        Args:
            images: (n, channels, side, side), or a table (n, N_0): uint8, which becomes [0, 1], or
                floats.
            class_start: first row of every class, and n, (classes + 1,).
            rows: the row of every example, int64 (..., T, B).
            members: its class within its task, 0 to ways - 1, in a shape that expands to that of
                `rows`.
            draws: from `sample_tasks`, on the device of the images.
            seed: determines the draws of examples.

        Returns:
            x (..., T, B, N_0) in float32, and the targets; None if no transform has any.
        """
        source = _Source(images, class_start, members.expand(rows.shape))
        return self._run(_gather(images, rows), draws, (seed,), source)

    def _run(
        self, x: Tensor, draws: Sequence[Tree | None], seed: tuple[int, ...], source: _Source
    ) -> tuple[Tensor, Targets | None]:
        side = source.images.shape[-1]
        geometry: Geometry | None = None  # of warps that are not applied yet
        targets: list[tuple[Tensor, Tensor]] = []
        with full_precision(x), float32_by_default():
            for number, (transform, task) in enumerate(zip(self.transforms, draws, strict=True)):
                if task is None:
                    continue
                generator = _generator(x.device, *seed, self._keys[number])
                examples = transform.sample_examples(task, tuple(x.shape[:-1]), generator)
                found = transform.targets(task, examples)
                if found is not None:
                    targets.append(found)
                if isinstance(transform, Warp):
                    later = transform.geometry(task, examples, side)
                    geometry = later if geometry is None else geometry.then(later)
                    continue
                if geometry is not None:
                    x, geometry = _warp(x, geometry, source.images), None
                if isinstance(transform, Overlay):
                    tasks = task["tasks"]
                    members = source.members.index_select(-2, tasks)
                    classes = transform.second_classes(task, members, generator)
                    rows = _uniform_rows(source.class_start, classes, generator)
                    second, _ = self._run(
                        _gather(source.images, rows),
                        self._of_warps(draws, number, tasks),
                        (*seed, self._keys[number]),
                        source,
                    )
                    own = x.index_select(-3, tasks)
                    both = transform.combine(own, second, task, side, generator)
                    x = x.index_copy(-3, tasks, both)
                else:
                    x = transform.apply(x, task, examples)
            if geometry is not None:
                x = _warp(x, geometry, source.images)
        return x, _join(targets)

    def _of_warps(self, draws: Sequence[Tree | None], end: int, tasks: Tensor) -> list[Tree | None]:
        """Draws of the warps before transform `end`, for some tasks; None for other transforms."""
        return [
            map_tensors(lambda tensor: tensor.index_select(0, tasks), draw)
            if number < end and isinstance(transform, Warp)
            else None
            for number, (transform, draw) in enumerate(zip(self.transforms, draws, strict=True))
        ]


def draws_for_examples(transform: Transform) -> bool:
    """Whether a transform draws something for every example."""
    return type(transform).sample_examples is not Transform.sample_examples


def _generator(device: torch.device, *key: int) -> torch.Generator:
    """A generator on a device, seeded by integers."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(seed)


def _gather(images: Tensor, rows: Tensor) -> Tensor:
    """The images or table rows at `rows` (..., T, B), as (..., T, B, N_0) in float32."""
    x = images[rows.flatten()]
    x = x.float().div_(255) if x.dtype == torch.uint8 else x.float()
    return x.view(*rows.shape, -1)


def _uniform_rows(class_start: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """A random row of each class, in the shape of `classes`."""
    start = class_start[classes]
    size = class_start[classes + 1] - start
    draws = torch.rand(classes.shape, generator=generator, device=generator.device)
    return start + torch.minimum((draws * size).long(), size - 1)  # the product may round up


def _warp(x: Tensor, geometry: Geometry, images: Tensor) -> Tensor:
    """Apply a geometry to x (..., T, B, N_0), images with the shape of `images`."""
    return geometry.sample(x.reshape(-1, *images.shape[1:])).reshape(x.shape)


def _join(targets: Sequence[tuple[Tensor, Tensor]]) -> Targets | None:
    """The targets of all transforms concatenated; None if there are none."""
    if not targets:
        return None
    is_target = [which[:, None].expand(-1, values.shape[-1]) for values, which in targets]
    return Targets(torch.cat([values for values, _ in targets], -1), torch.cat(is_target, -1))
