"""A rule applied to a user's rows: what is read, computed and written, and what is refused."""

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from lit_lul import Applied, apply_rule, load_rule
from lit_lul.apply import predict, write_applied
from lit_lul.errors import InvalidInput
from lit_lul.files.phi import load_phi, save_phi
from lit_lul.files.rows import load_rows
from lit_lul.files.theta import save_rule
from lit_lul.learners.update_rule import RuleSettings, UnsupervisedUpdate
from lit_lul.networks.mlp import MLP

ROWS = np.random.default_rng(0).random((13, 7), dtype=np.float32)


def tiny_rule() -> UnsupervisedUpdate:
    torch.manual_seed(5)
    return UnsupervisedUpdate(
        RuleSettings(
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


def write_parquet(path: Path, columns: dict[str, Any]) -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pa.table(columns), path)


def write_text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def write_array(values: NDArray[Any]) -> Callable[[Path], object]:
    return lambda path: np.save(path, values)


def spoilt(value: float) -> NDArray[Any]:
    values = ROWS.copy()
    values[4, 2] = values[9, 0] = value
    return values


def test_three_lines_use_a_rule_that_ships() -> None:
    x = torch.from_numpy(np.random.default_rng(0).random((128, 7), dtype=np.float32))
    applied = apply_rule(load_rule("quickstart"), x, inner_steps=1)
    assert applied.embeddings.shape == (128, 32)
    assert applied.base_model == MLP((7, 128, 128, 128, 128, 32))


def test_npy_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, ROWS.astype(np.float64))
    x = load_rows(path)
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.from_numpy(ROWS))
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 11
    np.save(path, images)
    expected = torch.from_numpy(images).flatten(1) / 255
    assert torch.equal(load_rows(str(path)), expected)
    np.save(path, images % 2 == 0)
    assert torch.equal(load_rows(path), 1 - torch.from_numpy(images % 2).flatten(1).float())


@pytest.mark.parametrize(
    "head",
    ["", "a,b,c,d,e,f,g\n", "0,1,2,3,4,5,6\n", "label,0,1,2,3,4,5\n", ",0,1,2,3,4,5\n", "\ufeff"],
)
def test_csv_is_read_with_and_without_names(tmp_path: Path, head: str) -> None:
    lines = "\n".join(",".join(map(str, row)) for row in ROWS.tolist())
    (tmp_path / "rows.csv").write_text(head + lines + "\n\n", encoding="utf-8")
    assert torch.equal(load_rows(tmp_path / "rows.csv"), torch.from_numpy(ROWS))


def test_parquet_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "day=1"
    folder.mkdir()
    columns = {"grey": np.array([0, 51, 255], np.uint8), "share": [0.25, 0.5, 1.0]}
    write_parquet(folder / "rows.parquet", columns | {"whole": [0, 1, 1], "flag": [True] * 3})
    expected = torch.tensor([[0, 0.25, 0, 1], [0.2, 0.5, 1, 1], [1, 1, 1, 1]])
    assert torch.equal(load_rows(folder / "rows.parquet"), expected)


def test_rounded_values_are_cut(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([[-1e-17, 1 + 2e-16], [0.5, 0.5]]))
    assert load_rows(tmp_path / "rows.npy").tolist() == [[0, 1], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("name", "write", "culprit"),
    [
        ("rows.npy", lambda path: None, "there is none"),
        ("rows.npy", Path.mkdir, "there is none"),
        ("rows.txt", write_text("0.1,0.2"), r"\.npy, \.csv, \.parquet"),
        ("rows.npy", write_text("no array"), r"whole \.npy file"),
        ("rows.npy", write_text(""), r"whole \.npy file"),
        ("rows.npy", write_array(np.array([{}, {}])), r"whole \.npy file"),
        ("rows.npy", write_array(np.array([["a", "b"]])), "array of numbers"),
        ("rows.npy", write_array(ROWS[0]), "two dimensions"),
        ("rows.npy", write_array(ROWS[:0]), "one row or more"),
        ("rows.npy", write_array(ROWS[:, :0]), "one number or more"),
        ("rows.npy", write_array(spoilt(np.nan)), "2 of 13 rows .* first is row 5"),
        ("rows.npy", write_array(spoilt(-np.inf)), "2 of 13 rows .* first is row 5"),
        ("rows.npy", write_array(spoilt(-0.5)), r"found -0\.5 to 0\.99.* 2 of 7 .* '1'"),
        ("rows.npy", write_array(np.array([[0, 255]])), r"uint8\), found 0 to 255"),
        ("rows.csv", write_text(""), "one row or more"),
        ("rows.csv", write_text("a,b\n"), "one row or more"),
        ("rows.csv", write_text("a,kind\n0.1,0.2\n0.3,cat\n"), "'kind' holds 'cat' in row 2"),
        ("rows.csv", write_text("0.1,cat\n0.3,0.4\n"), "'2' holds 'cat' in row 1"),
        ("rows.csv", write_text("0.1,0.2\n0.3\n"), "row 2 has 1 cells, expected 2"),
        ("rows.csv", write_text("0.1,0.2\n0.3,\n"), "1 of 2 rows .* first is row 2"),
        ("rows.csv", write_text(",0.2\n0.3,0.4\n"), "1 of 2 rows .* first is row 1"),
        ("rows.csv", write_text("id,a\n7,0.2\n8,0.4\n"), "found 0.2 to 8; 1 of 2 .* 'id'"),
        ("rows.csv", lambda path: path.write_bytes(b"\xff\xfe0.1"), r"whole \.csv file"),
        ("rows.parquet", lambda p: write_parquet(p, {"a": [0.1], "kind": ["x"]}), "'kind'"),
        ("rows.parquet", lambda p: write_parquet(p, {"a": [0.1, None]}), "first is row 2"),
        ("rows.parquet", lambda p: write_parquet(p, {"a": [True, None]}), "first is row 2"),
        ("rows.parquet", lambda p: write_parquet(p, {}), "one row or more"),
        ("rows.parquet", lambda p: write_parquet(p, {"a": [0.1], "id": [12]}), "'id'"),
    ],
)
def test_bad_rows_are_named(
    tmp_path: Path, name: str, write: Callable[[Path], object], culprit: str
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    write(tmp_path / name)
    with pytest.raises(InvalidInput, match=rf"rows\.\w+: .*{culprit}") as raised:
        load_rows(tmp_path / name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("spoil", [lambda b: b[:-40], lambda b: b.replace(b"}", b" ", 1)])
def test_spoilt_arrays_are_named(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InvalidInput, match=r"rows\.npy: expected a whole \.npy file"):
        load_rows(path)


def test_truncated_tables_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, {"a": ROWS[:, 0]})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InvalidInput, match=r"rows\.parquet: expected a whole") as raised:
        load_rows(path)
    assert "\n" not in str(raised.value)


def test_missing_pyarrow_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_pyarrow(name: str, *args: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *args)

    (tmp_path / "rows.parquet").touch()
    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(InvalidInput, match=r"pip install 'lit-lul\[data\]'"):
        load_rows(tmp_path / "rows.parquet")


def test_no_steps_leave_the_first_phi() -> None:
    applied = apply_to_rows(inner_steps=0)
    base_model = MLP((7, 5, 6))
    phi = base_model.init(1, torch.Generator().manual_seed(0))
    assert applied.base_model == base_model
    for group, expected in zip(applied.phi, phi, strict=True):
        assert all(map(torch.equal, group, expected))
    assert torch.equal(applied.embeddings, base_model.embed(phi, torch.from_numpy(ROWS)[None])[0])


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
        seen.append(inputs[2])

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


def test_phi_read_back_gives_the_same_embeddings(tmp_path: Path) -> None:
    applied = apply_to_rows(hidden_units=[5, 4], activation="tanh")
    embeddings, path = write_applied(applied, tmp_path / "new" / "folder")
    assert {file.name for file in embeddings.parent.iterdir()} == {embeddings.name, path.name}
    written = np.load(embeddings, allow_pickle=False)
    assert written.dtype == np.float32
    base_model, phi = load_phi(path)
    assert base_model == MLP((7, 5, 4, 6), "tanh")
    read_back = base_model.embed(phi, torch.from_numpy(ROWS)[None])[0]
    assert np.array_equal(read_back.numpy(), written)


def test_bad_phi_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "phi.safetensors"
    with pytest.raises(InvalidInput, match=r"phi\.safetensors"):
        load_phi(path)
    save_phi(apply_to_rows().phi, MLP((7, 5, 6)), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidInput, match=r"phi\.safetensors"):
        load_phi(path)
    save_rule(tiny_rule(), path)
    with pytest.raises(InvalidInput, match=r"phi\.safetensors: .*format"):
        load_phi(path)
    metadata = {
        "format": "lit_lul phi 1",
        "base_model": '{"sizes": [7, 6], "activation": "relu"}',
    }
    save_file({"weights.0": torch.ones(7, 5)}, path, metadata)
    with pytest.raises(InvalidInput, match=r"phi\.safetensors: backward_weights\.0 is nothing"):
        load_phi(path)


def test_predict_writes_embeddings_and_phi(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, data, folder = tmp_path / "theta.safetensors", tmp_path / "rows.npy", tmp_path / "out"
    save_rule(tiny_rule(), rule)
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
    save_rule(tiny_rule(), run_folder / "pretrained" / "tiny.safetensors")
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
    settings = RuleSettings(hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6)
    save_rule(UnsupervisedUpdate(settings), run_folder / "rule.safetensors")
    options = ["--images.dataset=pets", "--images.side=5", "--batch_size=4", "--inner_steps=2"]
    lit_lul("predict", "rule.safetensors", "out", "--hidden_units=[7]", *options)
    assert np.load(run_folder / "out" / "embeddings.npy").shape == (8, 6)
    base_model, _ = load_phi(run_folder / "out" / "phi.safetensors")
    assert base_model.sizes == (75, 7, 6)
    for wrong in ([], ["--data_path=rows.csv", "--images.dataset=pets"], ["--data_path=rows.csv"]):
        with pytest.raises(InvalidInput):
            lit_lul("predict", "rule.safetensors", "out", *wrong)


def test_the_rule_sees_inputs_in_another_order() -> None:
    settings = RuleSettings(hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6)
    rule = UnsupervisedUpdate(settings)
    x = torch.rand(20, 9, generator=torch.Generator().manual_seed(1))
    last: dict[str, Any] = {}
    rule.register_forward_hook(lambda _, args, phi: last.update(batch=args[2], phi=phi))
    applied = apply_rule(rule, x, [8], inner_steps=3, batch_size=10)
    batch = last["batch"][0]
    differences = (batch.sort(1).values[:, None] - x.sort(1).values).abs().sum(-1)
    rows = x[differences.argmin(1)]
    assert torch.equal(rows.sort(1).values, batch.sort(1).values)
    assert not torch.equal(rows, batch)
    torch.testing.assert_close(
        applied.base_model.embed(applied.phi, rows[None]),
        applied.base_model.embed(last["phi"], batch[None]),
    )
