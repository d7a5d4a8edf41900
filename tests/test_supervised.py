"""Objectives that take outputs as predictions."""

import pytest
import torch
from torch.nn import functional as F

from lit_lul.errors import InvalidInput
from lit_lul.networks import MLP
from lit_lul.objectives import CrossEntropy, Labelled, SquaredError

DRAWS, TASKS, EXAMPLES, CLASSES = 2, 3, 6, 4
NETWORK = MLP((5, CLASSES + 3), "identity")


def labelled(regression: bool = False) -> Labelled:
    """Random draws; with two more target columns if asked for."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(DRAWS, TASKS, EXAMPLES, 5, generator=generator)
    classes = torch.randint(CLASSES, (DRAWS, TASKS, EXAMPLES), generator=generator)
    y = F.one_hot(classes, CLASSES).float()
    is_class = torch.ones(TASKS, CLASSES, dtype=torch.bool)
    if regression:
        y = torch.cat([y, torch.full((DRAWS, TASKS, EXAMPLES, 2), 9.0)], -1)
        is_class = torch.cat([is_class, torch.zeros(TASKS, 2, dtype=torch.bool)], -1)
    return Labelled(x, y, x, y, is_class, torch.ones_like(is_class))


def test_cross_entropy_is_torchs_and_ignores_other_targets() -> None:
    params = NETWORK.init(TASKS, torch.Generator().manual_seed(1))
    plain, other = (CrossEntropy()(NETWORK, params, labelled(r)) for r in (False, True))
    outputs = NETWORK.embed(params, labelled().query_x)[..., :CLASSES]
    classes = labelled().query_y.argmax(-1)
    for task in range(TASKS):
        logits, truth = outputs[:, task].flatten(0, 1), classes[:, task].flatten()
        torch.testing.assert_close(plain.loss[task], F.cross_entropy(logits, truth))
        hits = (logits.argmax(-1) == truth).float().mean()
        torch.testing.assert_close(plain.accuracy[task], hits)
    torch.testing.assert_close(other, plain)


def test_squared_error_is_torchs() -> None:
    params = NETWORK.init(TASKS, torch.Generator().manual_seed(1))
    score = SquaredError()(NETWORK, params, labelled())
    outputs = NETWORK.embed(params, labelled().query_x)[..., :CLASSES]
    for task in range(TASKS):
        expected = F.mse_loss(outputs[:, task], labelled().query_y[:, task]) * CLASSES
        torch.testing.assert_close(score.loss[task], expected)


@pytest.mark.parametrize("objective", [CrossEntropy(), SquaredError()])
def test_too_few_outputs_are_named(objective: CrossEntropy | SquaredError) -> None:
    network = MLP((5, 3))
    params = network.init(TASKS, torch.Generator().manual_seed(1))
    with pytest.raises(InvalidInput, match="network with 3 outputs: tasks with 4 target columns"):
        objective(network, params, labelled())
