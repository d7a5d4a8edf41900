"""Names of the held-out datasets that need no files."""

from collections.abc import Callable
from functools import partial

from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.held_out_glyphs import glyphs
from lit_lul.evaluation.made_rows import WORLDS, topics, world
from lit_lul.evaluation.small_tables import blobs, breast_cancer, digits, moons, wine

READY_MADE: dict[str, Callable[[], HeldOutData]] = {
    "digits": digits,
    "wine": wine,
    "breast_cancer": breast_cancer,
    "moons": moons,
    "moons-thin": partial(moons, noise=0.05),
    "blobs": blobs,
    "topics": topics,
    "glyphs": glyphs,
    "glyphs-seen": partial(glyphs, seen=True),
    **{f"prior-{number}": partial(world, number) for number in range(WORLDS)},
}
"""Loaders by the name that a configuration gives as `dataset`."""
