"""The classes of unlabelled examples: more than the labelled ones, and of unlike frequency.

Shapes: U inner steps, T tasks, B examples, W classes.
"""

import numpy as np


def draw_members(
    weights: np.ndarray, shape: tuple[int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Draw a class, 0 to W - 1, for every example.

    Args:
        weights: frequencies of the classes of every task, (T, W), in any units.
        shape: (U, T, B).
        rng: the generator.
    """
    if (weights == weights[:, :1]).all():
        return rng.integers(weights.shape[1], size=shape)
    cumulative = weights.cumsum(1)
    draws = rng.random(shape) * cumulative[:, -1:]
    members = [
        np.searchsorted(cumulative[task], draws[:, task], side="right") for task in range(shape[1])
    ]
    return np.stack(members, axis=1).clip(max=weights.shape[1] - 1)
