"""Held-out datasets of random generators: worlds of the synthetic prior, and topics."""

from collections.abc import Callable

import numpy as np
import torch

from lit_lul.data.prior import World, draw_world
from lit_lul.data.text import TopicModel
from lit_lul.evaluation.held_out_data import HeldOutData

WORLDS = 8
WORLD_SEED = 20180404
"""First part of the seeds of held-out worlds; runs have seeds that are smaller."""
INPUTS = (16, 32, 64, 128, 196, 400)
CLASSES = (2, 20)
TOPIC_CLASSES, TOPIC_WORDS, TOPIC_SEED = 10, 1000, 0
UNLABELLED, LABELLED = 4000, 70
"""Unlabelled rows, and labelled rows per class."""


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

    def sample(labels: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            rows: torch.Tensor = generator(torch.from_numpy(labels), noise)
        return rows

    return _made(sample, generator.classes, number)


def topics() -> HeldOutData:
    """Texts of ten classes as bags of 1,000 words."""
    model, rng = TopicModel(TOPIC_CLASSES, TOPIC_WORDS, TOPIC_SEED), np.random.default_rng(1)
    return _made(lambda labels: torch.from_numpy(model.sample(labels, rng)), TOPIC_CLASSES, 0)


def _made(sample: Callable[[np.ndarray], torch.Tensor], classes: int, seed: int) -> HeldOutData:
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
