"""Held-out glyphs: characters that meta-training never sees, thin and bent like handwriting."""

import numpy as np
import torch
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.transforms import Distortion, Elastic
from lit_lul.tasks.transforms.pipeline import Pipeline

SEEN_SEED = 0
UNLABELLED, LABELLED = 200, 60
"""Images per character."""
THIN = 0.5
"""Share of a character's images that are used, those with least ink."""
DISTORTION, BEND = 0.2, 0.12
"""Entries of linear distortions, and moves of control points as a share of the side."""


def glyphs(side: int = 14, seen: bool = False) -> HeldOutData:
    """Characters kept for validation, side × side; every example is distorted and bent on its own.

    Unlabelled and labelled examples are made of different images of a character.

    Args:
        side: height and width in pixels.
        seen: whether to take as many of the characters that meta-training sees instead.
    """
    training, validation = GlyphTasks(side=side).load("glyphs", None)
    assert validation is not None  # all characters are used
    images, pool = validation.images, np.sort(validation.pool)
    if seen:
        pool = np.random.default_rng(SEEN_SEED).permutation(training.pool)[: len(pool)]
    thin = [_thin_rows(images, int(c)) for c in pool]
    unlabelled, labelled = (
        _examples(images, torch.stack([rows[half::2] for rows in thin]), per_class, half)
        for half, per_class in enumerate((UNLABELLED, LABELLED))
    )
    classes = torch.arange(len(pool))
    return HeldOutData(
        unlabelled,
        labelled,
        classes.repeat_interleave(LABELLED),
        1.0,
        (1, side, side),
        classes.repeat_interleave(UNLABELLED),
    )


def _thin_rows(images: ImageSet, character: int) -> Tensor:
    """Rows of the images of a character that have least ink."""
    start, end = images.class_start[character : character + 2].tolist()
    ink = images.images[start:end].float().sum((1, 2, 3))
    rows: Tensor = start + ink.argsort()[: round(THIN * len(ink))]
    return rows


def _examples(images: ImageSet, rows: Tensor, per_class: int, seed: int) -> Tensor:
    """Examples (classes × per_class, N_0) made of the images at `rows` (classes, images)."""
    pipeline = Pipeline([Distortion(DISTORTION), Elastic(BEND)])
    each = rows.repeat(1, -(-per_class // rows.shape[1]))[:, :per_class].reshape(1, -1)
    draws = [{}, torch.full((1,), BEND)]  # of one task, which bends as much as it may
    x, _ = pipeline.realise(
        images.images, images.class_start, each, torch.zeros_like(each), draws, seed
    )
    return x[0].clamp(0, 1)
