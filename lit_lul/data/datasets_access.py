"""Finding and reading datasets, in local folders or on the Hugging Face hub."""

import hashlib
import os
from pathlib import Path
from typing import Any

from lit_lul.errors import InvalidInput

ROOT_VARIABLE = "LIT_LUL_DATA"


def find_folder(dataset: str, data_root: str | None) -> Path | None:
    """The dataset's local folder, as an absolute path, or None where it has none.

    It is `<root>/<dataset>`, with root `data_root` or else $LIT_LUL_DATA, or else `dataset` itself.
    """
    return next((p.resolve() for p in _places(dataset, data_root) if p.is_dir()), None)


def _places(dataset: str, data_root: str | None) -> list[Path]:
    root = data_root or os.environ.get(ROOT_VARIABLE)
    return [*([Path(root, dataset)] if root else []), Path(dataset)]


def fingerprint(folder: Path) -> str:
    """A hash of the paths and sizes of a folder's files, without hidden files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def load_columns(dataset: str, split: str, columns: set[str], data_root: str | None) -> Any:
    """Columns of a split, as a `datasets.Dataset`, from the dataset's folder or else from the hub.

    Raises:
        InvalidInput: the dataset, its split or a column cannot be loaded, or the `datasets` library
            is missing.
    """
    try:
        import datasets
    except ImportError as error:
        missing = "the datasets library is missing: pip install 'lit-lul[data]'"
        raise InvalidInput(f"dataset {dataset!r}: {missing}") from error
    folder = find_folder(dataset, data_root)
    try:
        rows = datasets.load_dataset(str(folder or dataset), split=split)
    except Exception as error:  # the library's readers raise many types
        places = " or ".join(map(str, _places(dataset, data_root)))
        copy = f"connect to the network, or copy it to {places} or into ${ROOT_VARIABLE}"
        where = folder or f"the Hugging Face hub ({copy})"
        raise InvalidInput(
            f"cannot load dataset {dataset!r}, split {split!r}, from {where}: {reason_of(error)}"
        ) from error
    for column in sorted(columns):
        if column not in rows.column_names:
            raise InvalidInput(
                f"dataset {dataset!r}, split {split!r}: no column {column!r}; it has"
                f" {rows.column_names}"
            )
    return rows.select_columns(sorted(columns))


def reason_of(error: Exception) -> str:
    """The first line of the message of an exception's cause, or else of its own."""
    return str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
