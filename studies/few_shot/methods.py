"""The methods of the few-shot table, all measured on the same episodes.

Shapes: T episodes, n rows, N_0 inputs, E features.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from lit_lul.apply.rule import apply_rule
from lit_lul.learners.gradient_descent import MAML, MAMLSettings
from lit_lul.learners.learned_start import StartSettings
from lit_lul.learners.learner import Learner
from lit_lul.objectives import CrossEntropy, FewShotRidge
from lit_lul.objectives.objective import Labelled
from lit_lul.report.stored_rows import DEVICE
from lit_lul.tasks.clusters import Clusters
from lit_lul.trees import to_device
from studies.few_shot.config import Scratch
from studies.few_shot.episodes import Features, by_nearest_mean, features_of
from studies.few_shot.runs import Run, adapted

Method = Callable[[Labelled], Tensor]
"""Accuracy (T,) of T episodes."""


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
    applied = apply_rule(rule.to(DEVICE), images.flatten(1).float() / 255)
    return applied.embed


def train_from_scratch(
    settings: StartSettings, rate: float, steps: int, labelled: Labelled
) -> Tensor:
    """Gradient descent on the support from random initialisations, one for every episode."""
    return descend(settings, rate, [steps], labelled)[0]


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
    """Accuracy (T,) after each of some increasing numbers of steps from scratch."""
    learner = MAML(MAMLSettings(**asdict(settings), inner_rate=rate)).to(DEVICE)
    network = learner.network
    generator = torch.Generator().manual_seed(0)
    params = network.init(labelled.support_x.shape[1], generator)
    params = to_device(params, DEVICE)
    found, done = [], 0
    with torch.no_grad():
        for until in steps:
            params = adapted(learner, params, labelled, until - done)
            done = until
            found.append(CrossEntropy()(network, params, labelled).accuracy)
    return found
