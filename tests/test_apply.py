"""A learner applied to rows: what is computed, what rows of their own get, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lit_lul import Applied, apply_rule, load_rule
from lit_lul.apply.rule import write_applied
from lit_lul.errors import InvalidInput
from lit_lul.files.phi import load_phi
from lit_lul.learners import (
    Learner,
    LocalRule,
    LocalSettings,
    PrototypeRule,
    PrototypeSettings,
    UnsupervisedUpdate,
    UpdateSettings,
)
from lit_lul.networks import MLP
from lit_lul.trees import tensors_of

ROWS = np.random.default_rng(0).random((13, 7), dtype=np.float32)


def tiny_rule() -> UnsupervisedUpdate:
    torch.manual_seed(5)
    return UnsupervisedUpdate(
        UpdateSettings(
            hidden_channels=4,
            error_channels=3,
            top_channels=4,
            embedding_units=6,
            inner_rate=0.03,
        )
    )


def apply_to_rows(inner_steps: int = 3, **changes: Any) -> Applied:
    arguments: dict[str, Any] = {
        "rule": tiny_rule(),
        "x": torch.from_numpy(ROWS),
        "hidden_units": [5],
        "inner_steps": inner_steps,
        "batch_size": 4,
    }
    return apply_rule(**(arguments | changes))


def test_three_lines_use_a_rule_that_ships() -> None:
    x = torch.from_numpy(np.random.default_rng(0).random((128, 7), dtype=np.float32))
    applied = apply_rule(load_rule("quickstart"), x, inner_steps=1)
    assert applied.embeddings.shape == (128, 32)
    assert applied.network == MLP((7, 128, 128, 128, 128, 32))


def test_a_row_is_embedded_whatever_rows_are_with_it() -> None:
    x = torch.from_numpy(ROWS)
    applied = apply_to_rows()
    assert torch.equal(applied.embed(x), applied.embeddings)
    one_by_one = torch.cat([applied.embed(row[None]) for row in x])
    torch.testing.assert_close(one_by_one, applied.embeddings, rtol=1e-6, atol=1e-6)


def test_many_rows_are_embedded_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    applied, x = apply_to_rows(), torch.from_numpy(ROWS)
    monkeypatch.setattr("lit_lul.apply.rule.CHUNK", 5)
    torch.testing.assert_close(applied.embed(x), applied.embeddings, rtol=1e-6, atol=1e-6)
    assert applied.embed(x[:0]).shape == (0, 6)


def test_rows_that_were_fitted_have_their_batch_statistics() -> None:
    applied, x = apply_to_rows(), torch.from_numpy(ROWS)[None]
    as_one_batch = applied.network.embed(applied.params, x)[0]
    torch.testing.assert_close(applied.embeddings, as_one_batch, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 6), (3, 8), (7,), (1, 3, 7)])
def test_rows_of_another_kind_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"rows of shape .*: expected \(n, 7\)"):
        apply_to_rows().embed(torch.zeros(shape))


def test_another_learner_is_applied_likewise() -> None:
    rule = LocalRule(LocalSettings(embedding_units=6))
    first, again = apply_to_rows(rule=rule), apply_to_rows(rule=rule)
    assert first.embeddings.shape == (13, 6)
    assert torch.equal(first.embeddings, again.embeddings)
    assert not torch.allclose(first.embeddings, apply_to_rows(0, rule=rule).embeddings)


@pytest.mark.parametrize(
    ("rule", "width"),
    [
        (LocalRule(LocalSettings(6)), 6),
        (LocalRule(LocalSettings(6, gains=[1.0, 2.0, 3.0, 4.0])), 7 + 5 + 6),
        (PrototypeRule(PrototypeSettings(6)), 6 + 2 + 2),
    ],
    ids=["top", "all", "prototypes"],
)
def test_applied_rows_can_be_stored_and_embedded_again(
    rule: Learner, width: int, tmp_path: Path
) -> None:
    applied = apply_to_rows(rule=rule)
    assert applied.embeddings.shape == (13, width)
    _, phi = write_applied(applied, tmp_path)
    network, params, statistics = load_phi(phi)
    assert network == applied.network
    x = torch.from_numpy(ROWS)[None]
    torch.testing.assert_close(network.embed(params, x, statistics)[0], applied.embeddings)
    if width == 7 + 5 + 6:  # columns of the inputs are in their own order
        torch.testing.assert_close(applied.embeddings[:, :7], x[0] * 7**-0.5)


def test_no_steps_leave_the_first_phi() -> None:
    applied = apply_to_rows(inner_steps=0)
    network = MLP((7, 5, 6))
    params = network.init(1, torch.Generator().manual_seed(0))
    assert applied.network == network
    for (_, tensor), (_, expected) in zip(
        tensors_of(applied.params), tensors_of(params), strict=True
    ):
        assert torch.equal(tensor, expected)
    embeddings = network.embed(params, torch.from_numpy(ROWS)[None])[0]
    torch.testing.assert_close(applied.embeddings, embeddings, rtol=1e-6, atol=1e-6)


def test_steps_change_embeddings_and_the_seed_decides_them() -> None:
    first, again, other = apply_to_rows(), apply_to_rows(), apply_to_rows(seed=1)
    assert first.embeddings.shape == (13, 6)
    assert not first.embeddings.requires_grad
    assert torch.equal(first.embeddings, again.embeddings)
    assert not torch.allclose(first.embeddings, other.embeddings)
    assert not torch.allclose(first.embeddings, apply_to_rows(inner_steps=0).embeddings)
    assert not torch.allclose(first.embeddings, apply_to_rows(inner_steps=4).embeddings)


def test_an_epoch_takes_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rule, seen = tiny_rule(), []

    def record(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[2].x)

    rule.register_forward_pre_hook(record)
    apply_to_rows(inner_steps=7, rule=rule)
    assert {tuple(x.shape) for x in seen} == {(1, 4, 7)}
    epochs = [torch.cat(seen[i : i + 3], dim=1)[0] for i in (0, 3)]
    for epoch in epochs:
        assert len(epoch.unique(dim=0)) == 12
    assert not torch.equal(*epochs)


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"batch_size": 1}, "batch_size 1: expected 2 to 13"),
        ({"batch_size": 14}, "batch_size 14: expected 2 to 13"),
        ({"inner_steps": -1}, "inner_steps -1"),
        ({"seed": -1}, "seed -1"),
        ({"hidden_units": [0]}, "sizes"),
        ({"activation": "gelu"}, "gelu"),
    ],
)
def test_bad_numbers_are_named(changes: dict[str, Any], culprit: str) -> None:
    with pytest.raises(InvalidInput, match=culprit):
        apply_to_rows(**changes)


def test_embeddings_that_are_not_finite_are_refused() -> None:
    rule = tiny_rule()
    torch.nn.init.constant_(rule.merge, torch.nan)
    with pytest.raises(InvalidInput, match=r"inner_steps 3: .* not finite"):
        apply_to_rows(rule=rule)


def test_the_rule_sees_inputs_in_another_order() -> None:
    settings = UpdateSettings(
        hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6
    )
    rule = UnsupervisedUpdate(settings)
    x = torch.rand(20, 9, generator=torch.Generator().manual_seed(1))
    last: dict[str, Any] = {}
    rule.register_forward_hook(lambda _, args, state: last.update(batch=args[2].x, state=state))
    applied = apply_rule(rule, x, [8], inner_steps=3, batch_size=10)
    batch = last["batch"][0]
    differences = (batch.sort(1).values[:, None] - x.sort(1).values).abs().sum(-1)
    rows = x[differences.argmin(1)]
    assert torch.equal(rows.sort(1).values, batch.sort(1).values)
    assert not torch.equal(rows, batch)
    torch.testing.assert_close(
        applied.network.embed(applied.params, rows[None]),
        applied.network.embed(last["state"]["params"], batch[None]),
    )
