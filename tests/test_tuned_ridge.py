"""The regression whose penalty leave-one-out error chooses, against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from lit_lul.networks import MLP
from lit_lul.objectives import FewShotRidge, Labelled, TunedRidge
from lit_lul.objectives.tuned_ridge import PENALTIES, tuned_predictions

DRAWS, TASKS, K, INPUTS, CLASSES = 2, 3, 20, 6, 4


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_predictions_are_those_of_scikit_learn(noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(DRAWS, TASKS, K + 7, INPUTS, generator=generator, dtype=torch.float64)
    map_ = torch.randn(INPUTS, CLASSES, generator=generator, dtype=torch.float64)
    y = x[..., :K, :] @ map_
    y = 5 + y + noise * torch.randn(y.shape, generator=generator, dtype=y.dtype)
    ours = tuned_predictions(40 * x[..., :K, :], y, 40 * x[..., K:, :])
    for place in np.ndindex(DRAWS, TASKS):
        support, query = x[place][:K].numpy(), x[place][K:].numpy()
        scale = np.sqrt(np.square(support - support.mean(0)).sum(1).mean())
        theirs = RidgeCV([K * p for p in PENALTIES]).fit(support / scale, y[place].numpy())
        np.testing.assert_allclose(ours[place], theirs.predict(query / scale), rtol=1e-6)


def test_score_is_the_mean_of_both_and_the_tuned_half_ignores_scale() -> None:
    generator = torch.Generator().manual_seed(1)
    network = MLP((INPUTS, 8, 5))
    params = network.init(TASKS, generator, torch.float64)
    x = torch.randn(DRAWS, TASKS, 2 * K, INPUTS, generator=generator, dtype=torch.float64)
    classes = torch.arange(K) % CLASSES
    y = torch.eye(CLASSES, dtype=torch.float64)[classes].expand(DRAWS, TASKS, K, CLASSES)
    columns = torch.ones(TASKS, CLASSES, dtype=torch.bool)
    labelled = Labelled(x[..., :K, :], y, x[..., K:, :], y, columns, columns)
    fixed = FewShotRidge()
    both = TunedRidge(fixed)(network, params, labelled)
    alone = fixed(network, params, labelled)
    support_u, query_u = fixed.embed(network, params, labelled)
    targets = fixed.scale_targets(y, columns)
    for factor in (1.0, 50.0):
        predictions = tuned_predictions(factor * support_u, targets, factor * query_u)
        tuned = fixed.judge(predictions, labelled)
        torch.testing.assert_close(both.loss, (alone.loss + tuned.loss) / 2)
        torch.testing.assert_close(both.accuracy, (alone.accuracy + tuned.accuracy) / 2)


def test_embedding_without_variance_gives_nan_not_an_exception() -> None:
    u = torch.ones(1, 1, K, 3)
    assert tuned_predictions(u, torch.rand(1, 1, K, 2), u).isnan().all()
