"""Writing files so that a reader sees either the old file or the whole new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError

from lit_lul.errors import InvalidInput


@contextmanager
def not_written(path: Path | str | None) -> Iterator[None]:
    """Name what is written inside the `with` block where that fails: a full disk, most often.

    Raises:
        InvalidInput: the file cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: cannot be written ({reason})") from error


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move what was written there onto `path`.

    The caller writes the temporary file inside the `with` block. On success it is flushed to disk
    and replaces `path` in one step; on any exception it is deleted and `path` stays as it was.
    Missing parent directories are created. The temporary name ends like `path`'s and is unique, so
    several processes may replace the same file at once. Its permissions are those of any new file,
    whatever the block's writer sets.

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
