"""Writing files so that a reader sees either the old file or the whole new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move what was written there onto `path`.

    The caller writes the temporary file inside the `with` block. On success it is flushed to disk
    and replaces `path` in one step; on any exception it is deleted and `path` stays as it was.
    Missing parent directories are created. The temporary name ends like `path`'s and is unique, so
    several processes may replace the same file at once. Its permissions are those of any new file,
    whatever the block's writer sets.

    Raises:
        OSError: the file cannot be written, flushed or moved.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}-{path.name}")
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
