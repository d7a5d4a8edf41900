"""A cache of tensors that are slow to build: safetensors files with checksums."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lit_lul.files.atomic import not_written, replace_file

_log = logging.getLogger(__name__)
_UNUSABLE = (SafetensorError, OSError, ValueError)


def cache_dir() -> Path:
    """The cache directory, which may not exist yet.

    $LIT_LUL_CACHE if set, else the platform's directory for user caches ($XDG_CACHE_HOME/lit_lul
    or ~/.cache/lit_lul on Linux).
    """
    own = os.environ.get("LIT_LUL_CACHE")
    return Path(own) if own else user_cache_path("lit_lul", appauthor=False)


def cached_tensors(
    name: str, key: Mapping[str, object], build: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors of `build()`, read from the cache if there, else built and stored.

    The file is `<name>-<16 hexadecimal digits of the key's sha256>.safetensors`; its metadata holds
    the key and a checksum of the tensors. A file that is unreadable, or whose key or checksum is
    wrong, is rebuilt with a warning in the log. Nothing is ever unpickled.

    Only one process at a time builds a file; the others log that they wait, and then read it. The
    lock is the file `.<name of the file>.lock` beside it, which is kept. It is released when its
    process ends, even by a crash.

    Args:
        name: the start of the file's name.
        key: everything that the tensors depend on, as JSON values.
        build: makes the tensors (any shapes and dtypes, on the CPU, not sharing memory).

    Raises:
        InvalidInput: the file or its lock cannot be written.
    """
    key_json = json.dumps(key, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(key_json.encode()).hexdigest()[:16]
    path = cache_dir() / f"{name}-{digest}.safetensors"
    try:
        return _read(path, key_json)
    except _UNUSABLE:
        pass  # tried again below, while no other process writes it
    with _locked(path):
        try:
            return _read(path, key_json)
        except FileNotFoundError:
            pass
        except _UNUSABLE as error:
            _log.warning("rebuilding %s: %s", path.name, error)
        tensors = {label: tensor.contiguous() for label, tensor in build().items()}
        with replace_file(path) as temporary:
            save_file(tensors, temporary, {"key": key_json, "sha256": _checksum(tensors)})
    return tensors


def names_to_tensor(names: Sequence[str]) -> Tensor:
    """Strings as a tensor of bytes, for a cached file."""
    return torch.tensor([*json.dumps(names).encode()], dtype=torch.uint8)


def names_of_tensor(packed: Tensor) -> list[str]:
    """The strings of `names_to_tensor`."""
    names: list[str] = json.loads(bytes(packed.tolist()))
    return names


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A context that holds the lock of the cached file `path`."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with not_written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _log.warning("waiting for another process that is building %s", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _read(path: Path, key_json: str) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        labels = file.keys()
        tensors = {label: file.get_tensor(label) for label in labels}
    if metadata.get("key") != key_json:
        raise ValueError("it was built for another key")
    if metadata.get("sha256") != _checksum(tensors):
        raise ValueError("its checksum is wrong")
    return tensors


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for label, tensor in sorted(tensors.items()):
        digest.update(f"{label} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
