"""θ as one safetensors file with the rule's settings in its metadata."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import replace_file
from lit_lul.learners.update_rule import RuleSettings, UnsupervisedUpdate

FORMAT = "lit_lul rule 1"
PRETRAINED = Path(__file__).parent.parent / "pretrained"
"""The folder of the rules that ship with the package, and of their cards."""


def save_rule(rule: UnsupervisedUpdate, path: Path | str) -> None:
    """Write θ and the rule's settings to one safetensors file, whole or not at all.

    Raises:
        InvalidInput: when the file cannot be written.
    """
    theta = {name: tensor.detach().cpu().contiguous() for name, tensor in rule.state_dict().items()}
    metadata = {"format": FORMAT, "settings": json.dumps(vars(rule.settings))}
    with replace_file(Path(path)) as temporary:
        save_file(theta, temporary, metadata)


def available_rules() -> list[str]:
    """Names of the rules that ship with the package, in alphabetical order."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def load_rule(name_or_path: Path | str) -> UnsupervisedUpdate:
    """Rebuild a rule from the file that `save_rule` wrote, from it alone.

    Args:
        name_or_path: the name of a rule that ships with the package, see `available_rules`, or a
            file; without a suffix and a slash it is a name.

    Raises:
        InvalidInput: when no such rule ships, or the file is missing, truncated, or another kind.
    """
    path = rule_path(name_or_path)
    theta, metadata = read_tensors(path, FORMAT)
    known = {field.name for field in fields(RuleSettings)}
    settings = json.loads(metadata["settings"])
    if set(settings) != known:
        raise InvalidInput(f"{path}: expected rule settings {', '.join(sorted(known))}")
    rule = UnsupervisedUpdate(RuleSettings(**settings))
    check_shapes(path, theta, rule.state_dict())
    rule.load_state_dict(theta)
    return rule


def rule_path(name_or_path: Path | str) -> Path:
    """The file of a rule, as `load_rule` finds it.

    Raises:
        InvalidInput: when it is a name, and no rule of this name ships.
    """
    path = Path(name_or_path)
    if path.suffix or "/" in str(name_or_path):
        return path
    if path.name not in available_rules():
        shipped = ", ".join(available_rules()) or "none"
        raise InvalidInput(
            f"{path}: expected a .safetensors file, or one of the rules that ship: {shipped}"
        )
    return PRETRAINED / f"{path.name}.safetensors"


def read_tensors(path: Path | str, file_format: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file of one of this package's formats.

    Raises:
        InvalidInput: when the file is missing, truncated, or of another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise InvalidInput(
            f"{path}: expected a safetensors file of format {file_format!r} ({error})"
        ) from error
    if metadata.get("format") != file_format:
        raise InvalidInput(f"{path}: expected a safetensors file of format {file_format!r}")
    return tensors, metadata


def check_same(
    source: Path | str, found: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    """Check that a file was made with the configured values.

    Raises:
        InvalidInput: naming the first value that differs.
    """
    for name, value in expected.items():
        if found.get(name) != value:
            raise InvalidInput(f"{source}: made with {name} {found.get(name)}, not {value}")


def check_shapes(
    source: Path | str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Check that a file's tensors have the names and shapes of the configured run's.

    Raises:
        InvalidInput: naming the first tensor that differs.
    """
    for name in sorted(
        expected.keys() | found.keys(), key=lambda n: (not n.startswith("rule."), n)
    ):
        shapes = [
            list(tensors[name].shape) if name in tensors else "nothing"
            for tensors in (found, expected)
        ]
        if shapes[0] != shapes[1]:
            raise InvalidInput(f"{source}: {name} is {shapes[0]}, expected {shapes[1]}")
