"""Keeping tensors that are slow to build in files, checked on every read."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lit_lul.files.atomic import replace_file

_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Return the cache directory, which need not exist.

    It is $LIT_LUL_CACHE where that is set, else $XDG_CACHE_HOME/lit_lul, else ~/.cache/lit_lul.
    """
    if own := os.environ.get("LIT_LUL_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lit_lul"


def cached_tensors(
    name: str, key: Mapping[str, object], build: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return `build()`'s tensors, from a file in the cache directory when a sound one is there.

    The file is `<name>-<16 hexadecimal digits of the key's sha256>.safetensors`; its metadata holds
    the key and a checksum of the tensors. A file that cannot be read, has no such metadata, or has
    another key or checksum is rebuilt, with a warning in the log. Nothing is ever unpickled.
    Processes that build the same file at once all succeed; the last to finish leaves its file.

    Args:
        name: the start of the file's name.
        key: all that the tensors depend on, as values that JSON can hold.
        build: makes the tensors (any shapes and types, on the CPU, no two sharing memory).

    Raises:
        TypeError: `key` holds a value that JSON cannot.
        InvalidInput: the cache directory cannot be written.
    """
    key_json = json.dumps(key, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(key_json.encode()).hexdigest()[:16]
    path = cache_dir() / f"{name}-{digest}.safetensors"
    try:
        return _read(path, key_json)
    except FileNotFoundError:
        pass
    except (SafetensorError, OSError, ValueError) as error:
        _log.warning("rebuilding %s: %s", path.name, error)
    tensors = {label: tensor.contiguous() for label, tensor in build().items()}
    with replace_file(path) as temporary:
        save_file(tensors, temporary, {"key": key_json, "sha256": _checksum(tensors)})
    return tensors


def _read(path: Path, key_json: str) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        labels = file.keys()
        tensors = {label: file.get_tensor(label) for label in labels}
    if metadata.get("key") != key_json:
        raise ValueError("its key is another")
    if metadata.get("sha256") != _checksum(tensors):
        raise ValueError("its checksum is wrong")
    return tensors


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for label, tensor in sorted(tensors.items()):
        digest.update(f"{label} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
