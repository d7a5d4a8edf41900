"""A learner applied to rows, in Python and by `predict`: what is computed, written and refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul, refused
from PIL import Image

from lit_lul import Applied, apply_rule, load_rule
from lit_lul.apply.predict import predict
from lit_lul.apply.rule import write_applied
from lit_lul.devices import find_device
from lit_lul.errors import InvalidInput
from lit_lul.files.phi import load_phi
from lit_lul.files.theta import save_learner
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
            hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.03
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
    rule = tiny_rule()
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


def test_phi_read_back_gives_the_same_embeddings(tmp_path: Path) -> None:
    applied = apply_to_rows(hidden_units=[5, 4], activation="tanh")
    embeddings, path = write_applied(applied, tmp_path / "new" / "folder")
    assert {file.name for file in embeddings.parent.iterdir()} == {embeddings.name, path.name}
    written = np.load(embeddings, allow_pickle=False)
    assert written.dtype == np.float32
    network, params, statistics = load_phi(path)
    assert network == MLP((7, 5, 4, 6), "tanh")
    read_back = network.embed(params, torch.from_numpy(ROWS)[None], statistics)[0]
    assert np.array_equal(read_back.numpy(), written)


def test_predict_writes_embeddings_and_phi(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, data, folder = tmp_path / "theta.safetensors", tmp_path / "rows.npy", tmp_path / "out"
    save_learner(tiny_rule(), rule)
    np.save(data, ROWS)
    predict(rule, folder, data, hidden_units=[5], inner_steps=3, batch_size=4)
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in out] == [
        str(folder / "embeddings.npy"),
        str(folder / "phi.safetensors"),
    ]
    assert np.array_equal(np.load(folder / "embeddings.npy"), apply_to_rows().embeddings.numpy())
    with pytest.raises(InvalidInput, match=r"rows\.npy: expected a folder"):
        predict(rule, data, data, hidden_units=[5], inner_steps=3, batch_size=4)
    with pytest.raises(InvalidInput, match=r"rows\.npy: .*safetensors"):
        predict(data, folder, data)


def test_predict_takes_the_name_of_a_rule_that_ships(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_lul.files.theta.PRETRAINED", run_folder / "pretrained")
    save_learner(tiny_rule(), run_folder / "pretrained" / "tiny.safetensors")
    np.save("rows.npy", ROWS)
    options = ["--data_path=rows.npy", "--hidden_units=[5]", "--batch_size=4", "--inner_steps=3"]
    lit_lul("predict", "tiny", "out", *options)
    assert np.array_equal(np.load("out/embeddings.npy"), apply_to_rows().embeddings.numpy())


def test_images_of_a_folder_through_the_command_line(run_folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (run_folder / "pets" / "train" / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(256, size=(9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(run_folder / "pets" / "train" / name / f"{i}.png")
    save_learner(tiny_rule(), run_folder / "rule.safetensors")
    options = ["--images.dataset=pets", "--images.side=5", "--batch_size=4", "--inner_steps=2"]
    lit_lul("predict", "rule.safetensors", "out", "--hidden_units=[7]", *options)
    assert np.load(run_folder / "out" / "embeddings.npy").shape == (8, 6)
    network, *_ = load_phi(run_folder / "out" / "phi.safetensors")
    assert network.sizes == (75, 7, 6)
    for wrong in ([], ["--data_path=rows.csv", "--images.dataset=pets"], ["--data_path=rows.csv"]):
        with pytest.raises(InvalidInput):
            lit_lul("predict", "rule.safetensors", "out", *wrong)


@pytest.mark.parametrize(("gpus", "expected"), [(0, "cpu"), (2, "cuda")])
def test_auto_is_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, gpus: int, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert find_device("auto") == torch.device(expected)
    assert find_device("cpu") == torch.device("cpu")
    if gpus:
        assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InvalidInput, match="device 'cuda:2': expected auto or one of cpu"):
        find_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "mps"])
def test_an_unusable_device_is_one_line(tmp_path: Path, device: str) -> None:
    rule, data = tmp_path / "theta.safetensors", tmp_path / "rows.npy"
    save_learner(tiny_rule(), rule)
    np.save(data, ROWS)
    with refused(f"device '{device}': expected auto"):
        predict(rule, tmp_path / "out", data, batch_size=4, device=device)
    assert not (tmp_path / "out").exists()
