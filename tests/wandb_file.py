"""What an offline W&B run has written, read back from its `.wandb` file."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto import wandb_internal_pb2

FILE_HEADER, BLOCK, CHUNK_HEADER = 7, 32 * 1024, 7
WHOLE, LAST = 1, 4


class Artifact(NamedTuple):
    """A version of an artifact, made or used by a run."""

    name: str
    type: str
    files: dict[str, str]
    """Digests by name."""
    used: bool


class WandbRun(NamedTuple):
    """What a run says of itself, and all that was logged."""

    id: str
    config: dict[str, Any]
    """Nested, as `wandb.config` shows it."""
    history: dict[str, list[Any]]
    """Values in order, by name; parts of media under `name.part`."""
    rules: list[Artifact]
    """Artifacts in order, without those that W&B makes of tables."""


def read_wandb_run(path: Path) -> WandbRun:
    """Read a run."""
    run = WandbRun("", {}, {}, [])
    for record in _records(path.read_bytes()):
        if record.HasField("run"):
            run = run._replace(id=record.run.run_id)
        if record.HasField("artifact") and record.artifact.type != "run_table":
            made = record.artifact
            files = {file.path: file.digest for file in made.manifest.contents}
            run.rules.append(Artifact(made.name, made.type, files, made.use_after_commit))
        for entry in record.config.update:
            run.config[entry.key] = json.loads(entry.value_json)
        for item in record.history.item:
            name = item.key or ".".join(item.nested_key)
            run.history.setdefault(name, []).append(json.loads(item.value_json))
    return run


def _records(data: bytes) -> Iterator[Any]:
    """Records of LevelDB's log format: chunks that do not cross blocks, after a header."""
    at, record = FILE_HEADER, b""
    while at + CHUNK_HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < CHUNK_HEADER:
            at += left
            continue
        size, kind = struct.unpack("<4xHB", data[at : at + CHUNK_HEADER])
        at += CHUNK_HEADER + size
        record += data[at - size : at]
        if kind in (WHOLE, LAST):
            # protobuf makes the message classes at import
            yield wandb_internal_pb2.Record.FromString(record)  # type: ignore[attr-defined]
            record = b""
