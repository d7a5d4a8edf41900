"""A user's rows: the files that are read, and those that are refused."""

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import refused
from numpy.typing import NDArray

from lit_lul.apply.rows import load_rows
from lit_lul.errors import InvalidInput

ROWS = np.random.default_rng(0).random((13, 7), dtype=np.float32)


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
    with refused(rf"rows\.\w+: .*{culprit}"):
        load_rows(tmp_path / name)


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
    with refused(r"rows\.parquet: expected a whole"):
        load_rows(path)


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
