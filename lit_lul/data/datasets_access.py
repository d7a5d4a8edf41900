"""Finding datasets: in a folder of them, in a folder of their own, or on the Hugging Face hub."""

import hashlib
import os
from pathlib import Path
from typing import Any

from lit_lul.errors import InvalidInput

ROOT_VARIABLE = "LIT_LUL_DATA"


def find_folder(dataset: str, data_root: str | None) -> Path | None:
    """The dataset's local folder, or None.

    It is `<root>/<dataset>`, where root is `data_root` or else $LIT_LUL_DATA, else `dataset`.
    """
    return next((p.resolve() for p in _places(dataset, data_root) if p.is_dir()), None)


def _places(dataset: str, data_root: str | None) -> list[Path]:
    root = data_root or os.environ.get(ROOT_VARIABLE)
    return [*([Path(root, dataset)] if root else []), Path(dataset)]


def fingerprint(folder: Path) -> str:
    """A hash of the paths and sizes of a folder's files, hidden ones excepted."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def load_split(dataset: str, split: str, data_root: str | None) -> Any:
    """A split of the dataset as the `datasets` library reads it, from its folder or from the hub.

    Raises:
        InvalidInput: when it cannot be had, or the library is missing.
    """
    try:
        import datasets
    except ImportError as error:
        raise InvalidInput(f"dataset {dataset!r} needs pip install 'lit-lul[data]'") from error
    folder = find_folder(dataset, data_root)
    try:
        return datasets.load_dataset(str(folder or dataset), split=split)
    except Exception as error:  # the library raises what its many readers do
        places = " or ".join(map(str, _places(dataset, data_root)))
        copy = f"go online, or put a copy in {places} or below ${ROOT_VARIABLE}"
        where = folder or f"the Hugging Face hub ({copy})"
        raise InvalidInput(
            f"cannot load dataset {dataset!r}, split {split!r}, from {where}: {reason_of(error)}"
        ) from error


def reason_of(error: Exception) -> str:
    """The first line of what an exception, or its cause, says."""
    return str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
