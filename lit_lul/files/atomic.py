"""Atomic writing: a reader sees either the old file or the complete new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError

from lit_lul.errors import InvalidInput


@contextmanager
def not_written(path: Path | str | None) -> Iterator[None]:
    """A context that turns a failure to write `path` into a one-line error that names it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: cannot be written ({reason})") from error


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A context that yields a temporary path, and replaces `path` by the file written there.

    The caller writes the temporary file inside the `with` block. On success it is flushed to disk
    and replaces `path` in one step; on any exception it is deleted and `path` is unchanged.
    Missing parent directories are created. The temporary file is next to `path`, with a unique name
    and the same suffix, so several processes may replace the same file at once. The file gets the
    permissions of any new file.

    Raises:
        InvalidInput: the file cannot be written, flushed or moved.
    """
    temporary = path.with_name(f".{uuid4().hex}-{path.name}")
    with not_written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
