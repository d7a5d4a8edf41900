"""Test episodes, the same for every method, and the methods of the few-shot table.

Shapes: T episodes, R = 1 draw, K and K' support and query examples, n rows, N_0 inputs, E features.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from lit_lul.apply.rule import apply_rule
from lit_lul.learners.gradient_descent import MAML, MAMLSettings
from lit_lul.learners.learned_start import StartSettings
from lit_lul.learners.learner import Learner
from lit_lul.objectives import CrossEntropy, FewShotRidge
from lit_lul.objectives.objective import Labelled
from lit_lul.report.rows import DEVICE, Row
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.clusters import Clusters
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.source import Seeds
from lit_lul.trees import to_device
from studies.few_shot.config import TOGETHER, Scratch
from studies.few_shot.runs import Run, adapted

Features = Callable[[Tensor], Tensor]
"""Features (n, E) of rows (n, N_0)."""
Method = Callable[[Labelled], Tensor]
"""Accuracy (T,) of T episodes."""


def episodes(
    tasks: ClassTasks, shots: int, queries: int, count: int, seed: int
) -> Iterator[Labelled]:
    """Episodes of the source's first family, `TOGETHER` at a time; count is a multiple of it."""
    sizes = ProblemSizes(TOGETHER, 1, shots, 1, queries_per_class=queries)
    for number in range(count // TOGETHER):
        seeds = Seeds([seed, shots, number, 1], [seed, shots, number, 2])
        plan = tasks.plan(tasks.families[0], 1, sizes, seeds)
        yield tasks.realise(plan, DEVICE)[1]


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


def row_of(key: str, found: Mapping[str, Sequence[Tensor]]) -> Row:
    """A row of accuracies of episodes by name, each in parts (T,), to four digits."""
    accuracy = {n: [[round(a, 4) for a in torch.cat([*of]).tolist()]] for n, of in found.items()}
    return Row(key, [0], accuracy)


def centroid(labelled: Labelled) -> Tensor:
    """The nearest class mean of raw inputs."""
    return by_nearest_mean(labelled.support_x, labelled.query_x, labelled)


def ridge(features: Features) -> Method:
    """A ridge regression on features; it is the meta-objective of the rules, with its penalty."""

    def accuracy(labelled: Labelled) -> Tensor:
        return FewShotRidge().score(*features_of(labelled, features), labelled).accuracy

    return accuracy


def learned(run: Run, labelled: Labelled) -> Tensor:
    """A learner that adapts to the support."""
    return run.objective(run.learner.network, run.adapt(labelled), labelled).accuracy


def embedding_of_clusters(clusters: Clusters, images: Tensor) -> Features:
    """The embedding that is clustered, fitted to unlabelled images (n, channels, side, side)."""
    embed = clusters.fit(images)
    return lambda rows: torch.from_numpy(embed(rows.cpu())).to(rows.device)


def embedding_of_rule(rule: Learner, images: Tensor) -> Features:
    """The embedding of a network that a rule trains on unlabelled images.

    It is `apply_rule`'s default network, after its default number of inner steps.
    """
    return apply_rule(rule.to(DEVICE), images.flatten(1).float() / 255).embed


def tune(
    settings: StartSettings, choices: Scratch, episodes: Iterable[Labelled]
) -> tuple[float, int]:
    """The rate and the number of steps from scratch with the best mean accuracy on episodes."""
    mean: dict[tuple[float, int], float] = {}
    given = list(episodes)
    for rate in choices.rates:
        each = [descend(settings, rate, choices.steps, labelled) for labelled in given]
        for steps, *accuracy in zip(choices.steps, *each, strict=True):
            mean[rate, steps] = torch.cat(accuracy).mean().item()
    return max(mean, key=lambda choice: mean[choice])


def descend(
    settings: StartSettings, rate: float, steps: Sequence[int], labelled: Labelled
) -> list[Tensor]:
    """Accuracy (T,) after each of some increasing numbers of gradient steps on the support.

    Every episode has its own random initialisation.
    """
    learner = MAML(MAMLSettings(**asdict(settings), inner_rate=rate)).to(DEVICE)
    network, tasks = learner.network, labelled.support_x.shape[1]
    params = to_device(network.init(tasks, torch.Generator().manual_seed(0)), DEVICE)
    found, done = [], 0
    with torch.no_grad():
        for until in steps:
            params = adapted(learner, params, labelled, until - done)
            done = until
            found.append(CrossEntropy()(network, params, labelled).accuracy)
    return found
