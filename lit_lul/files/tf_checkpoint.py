"""The command `import`, and reading TensorFlow checkpoints (version 2) without TensorFlow.

A checkpoint that `tf.train.Saver` wrote is a prefix of file names. `<prefix>.index` is a table of
LevelDB's format: sorted keys in blocks, each key without what it shares with the one before it.
Under the empty key it has a BundleHeaderProto, and under the name of each variable a
BundleEntryProto, which says where in `<prefix>.data-<shard>-of-<shards>` the values are, as raw
little-endian numbers. Everything read is checked against its CRC-32C.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from lit_lul.errors import InvalidInput
from lit_lul.files.theta import save_learner
from lit_lul.learners.metz.released import from_released

FOOTER, MAGIC = 48, 0xDB4775248B80FB57
TRAILER = 5
"""Bytes behind a block: kind of compression, checksum."""
DTYPES = {1: "<f4", 2: "<f8"}
"""NumPy's names of TensorFlow's numbers for types; others are not read."""


def read_checkpoint(prefix: Path | str) -> dict[str, NDArray[Any]]:
    """The variables of floating point of a checkpoint, by name.

    Args:
        prefix: the checkpoint as TensorFlow names it, or its `.index` file.

    Raises:
        InvalidInput: when a file is missing, damaged, compressed, or no such checkpoint.
    """
    prefix = Path(str(prefix).removesuffix(".index"))
    index = prefix.with_name(f"{prefix.name}.index")
    if not index.is_file():
        old = " (a checkpoint of version 1 is not read)" if prefix.is_file() else ""
        raise InvalidInput(f"{index}: expected the index of a TensorFlow checkpoint{old}")
    try:
        return _variables(prefix, dict(_table(index.read_bytes())))
    except OSError as error:
        raise InvalidInput(f"{prefix}: expected a TensorFlow checkpoint ({error})") from error
    except (ValueError, LookupError, struct.error) as error:
        raise InvalidInput(
            f"{prefix}: expected a whole TensorFlow checkpoint of version 2 ({error})"
        ) from error


def import_released(checkpoint: Path, rule: Path) -> None:
    """Read θ from a TensorFlow checkpoint of the authors' code, and write it as safetensors.

    Args:
        checkpoint: the checkpoint as TensorFlow names it, such as tf_graph_data.ckpt, beside which
            there are files with .index and .data-00000-of-00001 at the end of the name.
        rule: the file to write, with the suffix .safetensors; an earlier one is replaced.

    Raises:
        InvalidInput: when the checkpoint is missing, damaged or of version 1, or a variable of θ is
            missing or of another shape. Nothing is written then.
    """
    if rule.suffix != ".safetensors":
        raise InvalidInput(f"{rule}: expected a name with the suffix .safetensors")
    variables = {n: torch.from_numpy(v.copy()) for n, v in read_checkpoint(checkpoint).items()}
    try:
        learner = from_released(variables)
    except InvalidInput as error:
        raise InvalidInput(f"{checkpoint}: {error}") from error
    save_learner(learner, rule)
    count = sum(parameter.numel() for parameter in learner.parameters())
    Console(soft_wrap=True, highlight=False).print(f"θ  {rule}  ({count:,} numbers)")


def _variables(prefix: Path, entries: dict[bytes, bytes]) -> dict[str, NDArray[Any]]:
    header = dict(_fields(entries.pop(b"")))
    shards = header[1]
    if header.get(2, 0) != 0:
        raise ValueError("big-endian numbers")
    files = [prefix.with_name(f"{prefix.name}.data-{i:05}-of-{shards:05}") for i in range(shards)]
    data = [file.read_bytes() for file in files]
    variables = {}
    for key, value in entries.items():
        name, entry = key.decode(), dict(_fields(value))
        if entry[1] not in DTYPES:
            continue
        if 7 in entry:
            raise ValueError(f"{name} is saved in slices")
        shape = [dict(_fields(dim)).get(1, 0) for n, dim in _fields(entry.get(2, b"")) if n == 2]
        offset = entry.get(4, 0)
        content = data[entry.get(3, 0)][offset : offset + entry[5]]
        _check(content, entry[6], name)
        variables[name] = np.frombuffer(content, DTYPES[entry[1]]).reshape(shape)
    return variables


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, in order."""
    footer = data[-FOOTER:]
    if len(footer) < FOOTER or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("no table")
    at = 0
    for _ in range(2):  # of the metaindex, which is empty
        _, at = _varint(footer, at)
    for _, handle in _block(data, footer[at:]):
        yield from _block(data, handle)


def _block(data: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block whose offset and size a handle holds."""
    offset, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    block, trailer = data[offset:][:size], data[offset + size :][:TRAILER]
    _check(block + trailer[:1], struct.unpack("<I", trailer[1:])[0], "a block")
    if trailer[0] != 0:
        raise ValueError("a compressed block")
    (restarts,) = struct.unpack("<I", block[-4:])
    end = size - 4 * (restarts + 1)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own :][:length]
        at += own + length


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a protobuf message's fields."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        size, at = (_varint(message, at)) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        content = message[at : at + size]
        yield tag >> 3, content if kind == 2 else int.from_bytes(content, "little")
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC = _crc_table()


def _check(content: bytes, masked: int, what: str) -> None:
    """Compare a CRC-32C, masked as LevelDB does."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    if (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF != masked:
        raise ValueError(f"{what} is damaged")
