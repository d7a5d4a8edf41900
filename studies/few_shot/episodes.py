"""Test episodes: the same for every method.

Shapes: T episodes, R = 1 draw, K and K' support and query examples, N_0 inputs, E features.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.objectives.objective import Labelled
from lit_lul.report.stored_rows import DEVICE
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.source import Seeds
from studies.few_shot.config import TOGETHER, StudyConfig, StudySource

Features = Callable[[Tensor], Tensor]
"""Features (n, E) of rows (n, N_0)."""


def episodes(
    tasks: ClassTasks, shots: int, queries: int, count: int, seed: int
) -> Iterator[Labelled]:
    """Episodes of the source's first family, `TOGETHER` at a time.

    Args:
        tasks: the source, with the labels of its classes.
        shots: labels per class.
        queries: queries per class.
        count: a multiple of `TOGETHER`.
        seed: determines them.
    """
    sizes = ProblemSizes(TOGETHER, 1, shots, 1, queries_per_class=queries)
    for number in range(count // TOGETHER):
        seeds = Seeds([seed, shots, number, 1], [seed, shots, number, 2])
        plan = tasks.plan(tasks.families[0], 1, sizes, seeds)
        yield tasks.realise(plan, DEVICE)[1]


def load_classes(
    name: str, source: StudySource, studies: StudyConfig
) -> tuple[ClassTasks, ClassTasks]:
    """The tasks of training and test classes of a source, with their labels.

    Raises:
        InvalidInput: when the data cannot be loaded, or the source has no such classes.
    """
    training, test = source.tasks.load(name, studies.data_root)
    if type(training) is not ClassTasks or type(test) is not ClassTasks:
        raise InvalidInput(f"{name}: expected images with labels, and classes kept for validation")
    return training, test


def features_of(labelled: Labelled, features: Features) -> tuple[Tensor, Tensor]:
    """Features of support (1, T, K, E) and query (1, T, K', E)."""
    support, query = (
        features(x.flatten(0, -2)).unflatten(0, x.shape[:-1])
        for x in (labelled.support_x, labelled.query_x)
    )
    return support, query


def by_nearest_mean(support_u: Tensor, query_u: Tensor, labelled: Labelled) -> Tensor:
    """Accuracy (T,) of classifying queries by the nearest class mean of the support."""
    y = labelled.support_y
    means = y.mT @ support_u / y.sum(-2).unsqueeze(-1)
    return _accuracy(torch.cdist(query_u, means).argmin(-1), labelled)


def by_nearest_neighbour(support_u: Tensor, query_u: Tensor, labelled: Labelled) -> Tensor:
    """Accuracy (T,) of giving every query the class of the nearest support example."""
    nearest = torch.cdist(query_u, support_u).argmin(-1)
    return _accuracy(labelled.support_y.argmax(-1).gather(-1, nearest), labelled)


def _accuracy(guess: Tensor, labelled: Labelled) -> Tensor:
    return (guess == labelled.query_y.argmax(-1)).double().mean((0, -1))
