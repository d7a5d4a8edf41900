"""From the draw of a truncation to its tensors, on the device that trains."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_lul.networks.mlp import MLP
from lit_lul.objectives.few_shot_ridge import Labelled
from lit_lul.tasks.augmentation import coefficients, make_inputs
from lit_lul.tasks.draw import TruncationDraw


@dataclass
class UnrollBatch:
    """One truncation of one cohort: what `unroll` is called with."""

    cohort: int
    """Which cohort, counted over all ranks."""
    fresh: bool
    """Whether it starts a new inner problem, with new φ."""
    age: int
    """Inner steps since the problem started."""
    base_model: MLP
    phi_seed: int
    """Seeds the initial φ."""
    family: Tensor
    """Index of every task's family, (T,)."""
    unlabelled: Tensor
    """(U, T, B, N_0)."""
    labelled: Labelled
    """R draws of support and query."""


def make_batch(draw: TruncationDraw, images: Tensor, max_shift: float) -> UnrollBatch:
    """Gather, augment and permute what a draw names.

    Args:
        draw: on the images' device.
        images: uint8, (n, channels, side, side).
        max_shift: the largest shift, in pixels: what a regression target of 1 means.
    """
    generator = torch.Generator(images.device).manual_seed(draw.mask_seed)
    unlabelled = make_inputs(
        images,
        draw.unlabelled_rows,
        draw.unlabelled_placement,
        draw.inputs,
        generator,
        draw.unlabelled_prints,
    )
    labelled = make_inputs(
        images,
        draw.labelled_rows,
        draw.labelled_placement,
        draw.inputs,
        generator,
        draw.labelled_prints,
    )
    draws, tasks, examples = draw.labelled_rows.shape
    columns = draw.is_class.shape[1]
    y = torch.nn.functional.one_hot(draw.classes, int(draw.classes.max()) + 1).to(labelled.dtype)
    y = y.expand(draws, tasks, -1, -1)
    if draw.labelled_placement is not None and columns > y.shape[-1]:
        y = torch.cat([y, coefficients(draw.labelled_placement, max_shift)], dim=-1)
    k = examples // 2
    return UnrollBatch(
        cohort=draw.cohort,
        fresh=draw.fresh,
        age=draw.age,
        base_model=draw.base_model,
        phi_seed=draw.phi_seed,
        family=draw.family,
        unlabelled=unlabelled,
        labelled=Labelled(
            labelled[:, :, :k],
            y[:, :, :k],
            labelled[:, :, k:],
            y[:, :, k:],
            draw.is_class,
            draw.is_target,
        ),
    )
