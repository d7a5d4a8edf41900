"""Prototypical network (Snell et al. 2017), meta-trained with labels (figure 2 right, H.3.4).

Three fully connected layers of 128 units, relu and batch norm. An episode has ten classes, five
labelled rows of each and fifteen to classify by the nearest class mean. Batch statistics are
those of the labelled rows, so that a row is classified alone. Inputs are in their own order or
permuted anew in every episode.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_lul.networks.mlp import MLP, MLPParams
from lit_lul.trees import concatenate, to_device
from studies.networks.training import noise_generators, rescaled, train

HIDDEN = (128, 128, 128)
WAYS, SHOTS, QUERIES = 10, 5, 15
RATE = 1e-3
TEST_EPISODES = 600
TEST_SEED = 10**6
"""Added to a network's seed for its test episodes."""


@dataclass(frozen=True, eq=False)
class Classes:
    """Labelled rows to draw episodes from."""

    x: Tensor
    """(n, N_0)."""
    labels: Tensor
    """Classes, int64, (n,), each with 20 rows or more."""
    scale: float
    """Factor that scales rows to [0, 1]."""


class Episodes:
    """Episodes of T networks.

    Args:
        classes: the rows.
        permuted: whether every episode permutes the inputs anew.
        seeds: of the episodes of every network.
        device: where rows are needed.
    """

    def __init__(
        self, classes: Classes, permuted: bool, seeds: Sequence[int], device: torch.device
    ) -> None:
        self._classes, self._permuted, self._device = classes, permuted, device
        self._generators = noise_generators(seeds)
        order = classes.labels.argsort(stable=True)
        sizes = classes.labels.bincount().tolist()
        self._members = [rows for rows in order.split(sizes) if len(rows)]

    def draw(self) -> tuple[Tensor, Tensor]:
        """Labelled rows (T, ways, shots, N_0), and rows to classify (T, ways, queries, N_0)."""
        rows = torch.stack([self._draw_rows(generator) for generator in self._generators])
        x = self._classes.x[rows] * self._classes.scale
        if self._permuted:
            inputs = x.shape[-1]
            orders = [torch.randperm(inputs, generator=g) for g in self._generators]
            x = x.gather(-1, torch.stack(orders)[:, None, None].expand(x.shape))
        support, query = x.to(self._device, torch.float32).split([SHOTS, QUERIES], dim=2)
        return support, query

    def _draw_rows(self, generator: torch.Generator) -> Tensor:
        """(ways, shots + queries)."""
        classes = torch.randperm(len(self._members), generator=generator)[:WAYS].tolist()
        members = [self._members[c] for c in classes]
        orders = [torch.randperm(len(m), generator=generator) for m in members]
        drawn = [m[order[: SHOTS + QUERIES]] for m, order in zip(members, orders, strict=True)]
        return torch.stack(drawn)


def train_prototypical(
    classes: Classes,
    permuted: bool,
    tests: Mapping[str, tuple[Classes, bool]],
    seeds: Sequence[int],
    probe_steps: Sequence[int],
    device: torch.device = torch.device("cpu"),
    test_episodes: int = TEST_EPISODES,
) -> dict[str, Tensor]:
    """Train a network per seed on one episode per step, and test it on episodes of other classes.

    Args:
        classes: rows of the training classes.
        permuted: whether training permutes the inputs of every episode.
        tests: rows of other classes, and whether inputs are permuted, by name.
        seeds: of T networks and their episodes.
        probe_steps: steps to test at.
        device: where to train.
        test_episodes: number of episodes of every test, the same at every step.

    Returns:
        Accuracy by name of the test, (steps, T).
    """
    network = MLP((classes.x.shape[1], *HIDDEN))
    drawn = [network.init(1, torch.Generator().manual_seed(seed)) for seed in seeds]
    params: MLPParams = to_device(rescaled(concatenate(drawn)), device)
    episodes = Episodes(classes, permuted, seeds, device)
    others = [seed + TEST_SEED for seed in seeds]

    def loss() -> Tensor:
        scores = _scores(network, params, *episodes.draw())
        return F.cross_entropy(scores.mT, _truth(scores), reduction="none").mean(-1)

    def test(of: Classes, permuted: bool) -> Tensor:
        episodes = Episodes(of, permuted, others, device)
        drawn = (_scores(network, params, *episodes.draw()) for _ in range(test_episodes))
        hits = [(s.argmax(-1) == _truth(s)).double().mean(-1) for s in drawn]
        return torch.stack(hits).mean(0)

    def measure() -> dict[str, Tensor]:
        return {name: test(*which) for name, which in tests.items()}

    return train(params, loss, RATE, probe_steps, measure)


def _scores(network: MLP, params: MLPParams, support: Tensor, query: Tensor) -> Tensor:
    """(T, rows to classify, ways)."""
    statistics = network.statistics(params, support.flatten(1, 2))
    support_u, query_u = (
        network.embed(params, x.flatten(1, 2), statistics).unflatten(1, x.shape[1:3])
        for x in (support, query)
    )
    return nearest_mean(support_u, query_u)


def _truth(scores: Tensor) -> Tensor:
    """The class of every row to classify, (T, rows)."""
    tasks, rows, ways = scores.shape
    classes = torch.arange(ways, device=scores.device)
    return classes.repeat_interleave(rows // ways).expand(tasks, -1)


def nearest_mean(support: Tensor, query: Tensor) -> Tensor:
    """Minus the squared distances to the class means.

    Args:
        support: features of labelled rows, (T, ways, shots, E).
        query: features of rows to classify, (T, ways, queries, E).

    Returns:
        (T, ways × queries, ways), class by class.
    """
    means = support.mean(2)
    return -(query.flatten(1, 2).unsqueeze(2) - means.unsqueeze(1)).square().sum(-1)
