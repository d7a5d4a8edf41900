"""Writing files in one step: a reader sees either the old file or the whole new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError

from lit_lul.errors import InvalidInput


@contextmanager
def not_written(path: Path | str | None) -> Iterator[None]:
    """Turn a failure to write `path` inside the `with` block into one line that names it.

    Raises:
        InvalidInput: the block raised an OSError (a full disk, most often) or a SafetensorError.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: cannot be written ({reason})") from error


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and move what was written there onto `path`.

    The caller writes the temporary file inside the `with` block. On success it is flushed to disk
    and replaces `path` in one step; on any exception it is deleted and `path` is unchanged.
    Missing parent directories are created. The temporary name is unique and has the suffix of
    `path`, so several processes may replace the same file at once. The file gets the permissions
    of any new file, whatever wrote it.

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
