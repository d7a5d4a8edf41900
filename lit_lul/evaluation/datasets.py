"""Held-out datasets that need no files: those of scikit-learn, of generators, and glyphs."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_blobs, make_moons
from torch import Tensor

from lit_lul.data.image_set import ImageSet
from lit_lul.data.prior import World, draw_world
from lit_lul.data.text import TopicModel
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.transforms import Distortion, Elastic
from lit_lul.tasks.transforms.pipeline import Pipeline

SPLIT_SEED = 0
WORLDS = 8
WORLD_SEED = 20180404
"""First part of the seeds of held-out worlds; runs have seeds that are smaller."""
INPUTS = (16, 32, 64, 128, 196, 400)
CLASSES = (2, 20)
TOPIC_CLASSES, TOPIC_WORDS, TOPIC_SEED = 10, 1000, 0
UNLABELLED, LABELLED = 4000, 70
"""Unlabelled rows, and labelled rows per class."""
SEEN_SEED = 0
UNLABELLED_GLYPHS, LABELLED_GLYPHS = 200, 60
"""Images per character."""
THIN = 0.5
"""Share of a character's images that are used, those with least ink."""
DISTORTION, BEND = 0.2, 0.12
"""Entries of linear distortions, and moves of control points as a share of the side."""


def digits() -> HeldOutData:
    """1,797 handwritten digits, 8 × 8."""
    bunch = load_digits()
    half, x, labels = _shuffled(bunch.data.astype(np.uint8), bunch.target)
    return HeldOutData(x[:half], x[half:], labels[half:], 1 / 16, (1, 8, 8), labels[:half])


def wine() -> HeldOutData:
    """178 wines of three cultivars, 13 chemical properties."""
    return _table(*load_wine(return_X_y=True))


def breast_cancer() -> HeldOutData:
    """569 tumours, benign or malignant, 30 properties of cell nuclei."""
    return _table(*load_breast_cancer(return_X_y=True))


def moons(noise: float = 0.15) -> HeldOutData:
    """2,000 points in two interleaved half circles, two inputs."""
    return _table(*make_moons(2000, noise=noise, random_state=0))


def blobs() -> HeldOutData:
    """2,000 points of ten normal distributions, 20 inputs."""
    x, labels = make_blobs(2000, 20, centers=10, cluster_std=7.0, random_state=0)
    return _table(x, labels)


def _shuffled(x: np.ndarray, labels: np.ndarray) -> tuple[int, Tensor, Tensor]:
    """Half the number of rows, rows and labels in random order."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    return round(len(x) / 2), torch.from_numpy(x[order]), torch.from_numpy(labels[order]).long()


def _table(values: np.ndarray, classes: np.ndarray) -> HeldOutData:
    """Columns scaled to [0, 1] by the unlabelled half; labelled values outside are clipped."""
    half, x, labels = _shuffled(values.astype(np.float32), classes)
    low, high = x[:half].amin(0), x[:half].amax(0)
    x = ((x - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return HeldOutData(x[:half], x[half:], labels[half:], 1.0, None, labels[:half])


def held_out_world(number: int) -> World:
    """A world that meta-training never draws, with its own numbers of classes and inputs."""
    rng = np.random.default_rng([WORLD_SEED, number])
    low, high = CLASSES
    classes = int(low * ((high + 1) / low) ** rng.random())
    return draw_world(classes, int(rng.choice(INPUTS)), classes, rng)


def world(number: int) -> HeldOutData:
    """Rows of a held-out world."""
    generator = held_out_world(number)
    noise = torch.Generator().manual_seed(WORLD_SEED + number)

    def sample(labels: np.ndarray) -> Tensor:
        with torch.no_grad():
            rows: Tensor = generator(torch.from_numpy(labels), noise)
        return rows

    return _made(sample, generator.classes, number)


def topics() -> HeldOutData:
    """Texts of ten classes as bags of 1,000 words."""
    model, rng = TopicModel(TOPIC_CLASSES, TOPIC_WORDS, TOPIC_SEED), np.random.default_rng(1)
    return _made(lambda labels: torch.from_numpy(model.sample(labels, rng)), TOPIC_CLASSES, 0)


def _made(sample: Callable[[np.ndarray], Tensor], classes: int, seed: int) -> HeldOutData:
    """Unlabelled rows of random classes, and equally many labelled ones of each class."""
    unlabelled = np.random.default_rng(seed).integers(classes, size=UNLABELLED)
    labelled = np.arange(classes).repeat(LABELLED)
    return HeldOutData(
        sample(unlabelled),
        sample(labelled),
        torch.from_numpy(labelled),
        1.0,
        None,
        torch.from_numpy(unlabelled),
    )


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
        for half, per_class in enumerate((UNLABELLED_GLYPHS, LABELLED_GLYPHS))
    )
    classes = torch.arange(len(pool))
    return HeldOutData(
        unlabelled,
        labelled,
        classes.repeat_interleave(LABELLED_GLYPHS),
        1.0,
        (1, side, side),
        classes.repeat_interleave(UNLABELLED_GLYPHS),
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
