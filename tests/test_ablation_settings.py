"""Settings that leave parts of the method out: what each changes, and that the rest stays."""

from dataclasses import asdict, replace
from functools import partial

import pytest
import torch

from lit_lul.evaluation.held_out import HeldOut, describe
from lit_lul.learners import Batch, UnsupervisedUpdate, UpdateSettings
from lit_lul.learners.metz.equations import weight_update
from lit_lul.networks import MLP, MLPs
from lit_lul.objectives import FewShotRidge, Labelled

SMALL = UpdateSettings(
    hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.03
)


def rows(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def test_without_batch_norm_a_network_is_affine_maps_and_relu() -> None:
    network = MLP((5, 7, 6), batch_norm=False)
    params = network.init(2, torch.Generator().manual_seed(0))
    x = 9 * rows(2, 4, 5)
    h = x
    for weight, bias in zip(params["weights"], params["biases"], strict=True):
        h = torch.relu(h @ weight + bias[:, None])
    torch.testing.assert_close(network.embed(params, x), h)
    statistics = network.statistics(params, x)
    torch.testing.assert_close(network.embed(params, x, statistics), h)
    assert not torch.allclose(MLP((5, 7, 6)).embed(params, x), h)
    assert MLPs(batch_norm=False).at(0.5, 5, 6).batch_norm is False


def test_tied_backward_weights_are_the_weights_at_all_times() -> None:
    network = MLP((5, 7, 6))
    for tied in (True, False):
        settings = replace(SMALL, backward_update="tied" if tied else "shared")
        rule = UnsupervisedUpdate(settings)
        state = rule.start(network, 2, torch.Generator().manual_seed(0))
        with torch.no_grad():
            for _ in range(2):
                state = rule.step(network, state, Batch(rows(2, 8, 5)))
        pairs = zip(state["params"]["weights"], state["backward_weights"], strict=True)
        assert all(torch.equal(w, v) for w, v in pairs) == tied


def test_without_the_update_norm_updates_grow_with_their_planes() -> None:
    sizes = []
    for factor in (100.0, 10_000.0):
        for norm in ("none", "receptive_field"):
            settings = replace(SMALL, update_norm=norm, growth=0.0, planes=["zero_order"])
            plane = factor * rows(2, 5, 7).roll(1, -1)
            update = weight_update(
                *(settings, torch.ones(1), None, rows(2, 5, 7), rows(2, 5, 9), rows(2, 7, 9)),
                {"zero_order": partial(torch.clone, plane)},
            )
            sizes.append(float(update.square().mean().sqrt()))
    assert sizes[2] == pytest.approx(100 * sizes[0], rel=1e-3)
    assert sizes[1] < 1.01
    assert sizes[3] < 1.01


def test_the_squared_loss_is_of_predictions_as_they_are() -> None:
    y = torch.eye(3).repeat(4, 1)[None, None]
    columns = torch.ones(1, 3, dtype=torch.bool)
    labelled = Labelled(rows(1, 1, 12, 5), y, rows(1, 1, 12, 5), y, columns, columns)
    u, v = rows(1, 1, 12, 4), 2 * rows(1, 1, 12, 4)
    losses = {}
    for loss in ("cosine", "squared"):
        ridge = FewShotRidge(loss=loss, loss_includes_penalty=False)
        target = ridge.scale_targets(y, columns)
        found = ridge.regress(u, target, v).predictions
        if loss == "cosine":
            found = found / found.norm(dim=-1, keepdim=True)
        losses[loss] = ridge.score(u, v, labelled).loss
        torch.testing.assert_close(losses[loss], (found - target).square().sum(-1).mean(-1)[0])
    assert losses["cosine"] != losses["squared"]


def test_descriptions_from_before_these_settings_stay_valid() -> None:
    assert "permuted" not in HeldOut().describe()
    assert HeldOut(permuted=False).describe()["permuted"] is False
    assert "batch_norm" not in HeldOut().describe()["networks"]
    changed = HeldOut(networks=MLPs(batch_norm=False)).describe()["networks"]
    assert changed["batch_norm"] is False
    assert "loss" not in describe(FewShotRidge())
    assert describe(FewShotRidge(loss="squared"))["loss"] == "squared"
    assert asdict(UpdateSettings())["update_norm"] == "receptive_field"
