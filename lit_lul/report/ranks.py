"""Mean ranks of columns over datasets, with bootstrap intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
COVERAGE = 0.95


class MeanRanks(NamedTuple):
    """Mean rank of every column, 1 for the most accurate, and its interval."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def ranks(accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of the columns of each row (rows, columns); equal columns share their mean rank."""
    mine, others = accuracy[:, :, None], accuracy[:, None, :]
    shared = 0.5 * ((others == mine).sum(-1) - 1)
    found: NDArray[np.float64] = 1 + (others > mine).sum(-1) + shared
    return found


def mean_ranks(accuracy: NDArray[np.float64], sources: Sequence[str]) -> MeanRanks:
    """Mean ranks over rows, with 95% intervals of a bootstrap over sources.

    Args:
        accuracy: (rows, columns).
        sources: of every row; rows of one source are drawn together.
    """
    of_rows = ranks(accuracy)
    names, index = np.unique(sources, return_inverse=True)
    drawn = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), RESAMPLES
    )
    weights = drawn[:, index]  # how often every row is drawn
    means = weights @ of_rows / weights.sum(1, keepdims=True)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0)
    return MeanRanks(of_rows.mean(0), low, high)
