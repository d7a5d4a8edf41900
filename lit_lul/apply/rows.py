"""Reading tables of a user's rows as inputs of a network."""

import csv
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_lul.errors import InvalidInput

ROUNDING = 1e-6
"""Tolerance: values outside [0, 1] by up to this are clipped."""


def load_rows(path: Path | str) -> Tensor:
    """Read a dataset, one example per row, as x (n, N_0) float32 in [0, 1].

    Reads `.npy` (arrays of more than two dimensions are flattened per row), `.csv` (commas, UTF-8,
    with or without a first line of names) and `.parquet` (needs pyarrow). Values of type uint8,
    which `.npy` and `.parquet` can hold, are divided by 255; all others must lie in [0, 1] already.
    Nothing is unpickled.

    Raises:
        InvalidInput: when the file is missing, unreadable, of another kind or without rows, or has
            a cell that is empty, not a finite number, or outside [0, 1].
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise InvalidInput(f"{path}: expected a file of rows, {', '.join(READERS)}")
    if not path.is_file():
        raise InvalidInput(f"{path}: expected a file of rows, but there is none")
    try:
        values, names = READERS[path.suffix.lower()](path)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    except (OSError, ValueError, TokenError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: expected a whole {path.suffix} file ({reason})") from error
    if values.size == 0:
        raise InvalidInput(f"{path}: expected one row or more, each of one number or more")
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if bad.size:
        raise InvalidInput(
            f"{path}: {bad.size} of {len(values)} rows have a cell that is empty, NaN or infinite; "
            f"the first is row {bad[0] + 1}, counted from 1"
        )
    low, high = values.min(0), values.max(0)
    outside = np.flatnonzero((low < -ROUNDING) | (high > 1 + ROUNDING))
    if outside.size:
        raise InvalidInput(
            f"{path}: expected values in [0, 1] (or of type uint8), found {low.min():g} to "
            f"{high.max():g}; {outside.size} of {len(names)} columns are outside, the first is "
            f"{names[outside[0]]!r}"
        )
    return torch.from_numpy(values.clip(0, 1).astype(np.float32))


def _read_npy(path: Path) -> tuple[NDArray[Any], list[str]]:
    with path.open("rb") as file:
        values = np.lib.format.read_array(file, allow_pickle=False)
    if values.ndim < 2 or values.dtype.kind not in "buif":
        raise InvalidInput("expected an array of numbers, of two dimensions or more")
    values = values.reshape(len(values), int(np.prod(values.shape[1:])))
    return _scale(values), _numbered(values.shape[1])


def _read_csv(path: Path) -> tuple[NDArray[Any], list[str]]:
    names: list[str] = []
    rows: list[NDArray[np.float64]] = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for cells in csv.reader(file):
            if not names and cells and _is_header(cells):
                names = cells
            elif cells:
                names = names or _numbered(len(cells))
                rows.append(_parse(cells, names, len(rows) + 1))
    return np.array(rows), names


def _parse(cells: list[str], names: list[str], row: int) -> NDArray[np.float64]:
    if len(cells) != len(names):
        raise InvalidInput(f"row {row} has {len(cells)} cells, expected {len(names)}")
    try:
        return np.array([float(cell or "nan") for cell in cells])
    except ValueError as error:
        pairs = zip(names, cells, strict=True)
        name, cell = next(pair for pair in pairs if pair[1] and not _is_number(pair[1]))
        raise InvalidInput(f"column {name!r} holds {cell!r} in row {row}, not a number") from error


def _is_header(cells: list[str]) -> bool:
    """Whether a first line names columns: it has no number, or counts 0, 1, 2, ... as in pandas.

    pandas may write the name of an index column, or nothing, before 0.
    """
    counting = [str(i) for i in range(len(cells))]
    counts = len(cells) > 2 and (cells == counting or cells[1:] == counting[:-1])
    return counts or not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path) -> tuple[NDArray[Any], list[str]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidInput("reading it needs pyarrow: pip install 'lit-lul[data]'") from error
    with pq.ParquetFile(path) as file:
        table = file.read()
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or kind == pa.bool_()):
            raise InvalidInput(f"column {name!r} is of type {kind}, expected numbers")
    if table.num_columns == 0:
        return np.empty((0, 0)), []
    columns = [_scale(column.to_numpy()) for column in table.columns]
    return np.stack(columns, axis=1), table.column_names


def _scale(values: NDArray[Any]) -> NDArray[Any]:
    """Convert to floats; uint8 is divided by 255."""
    if values.dtype == np.uint8:
        return values / np.float32(255)
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _numbered(columns: int) -> list[str]:
    return [str(column + 1) for column in range(columns)]


READERS = {".npy": _read_npy, ".csv": _read_csv, ".parquet": _read_parquet}
"""Readers by suffix; each returns values (n, N_0) and the names of the columns."""
