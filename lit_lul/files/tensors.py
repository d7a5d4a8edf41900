"""Reading safetensors files, and checking that they hold what is expected."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lit_lul.errors import InvalidInput


def read_tensors(path: Path | str, *formats: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file.

    Args:
        path: the file.
        formats: valid values of the metadata's `format`, the newest first.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise InvalidInput(
            f"{path}: expected a safetensors file of format {formats[0]!r} ({error})"
        ) from error
    if metadata.get("format") not in formats:
        raise InvalidInput(f"{path}: expected a safetensors file of format {formats[0]!r}")
    return tensors, metadata


def check_same(
    source: Path | str, found: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    """Check that values in a file equal the configured values; an error names the first."""
    for name, value in expected.items():
        if found.get(name) != value:
            raise InvalidInput(f"{source}: made with {name} {found.get(name)}, not {value}")


def check_shapes(
    source: Path | str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Check that a file's tensors have the expected names and shapes; an error names the first."""
    for name in sorted(
        expected.keys() | found.keys(), key=lambda n: (not n.startswith("learner."), n)
    ):
        shapes = [
            list(tensors[name].shape) if name in tensors else "nothing"
            for tensors in (found, expected)
        ]
        if shapes[0] != shapes[1]:
            raise InvalidInput(f"{source}: {name} is {shapes[0]}, expected {shapes[1]}")
