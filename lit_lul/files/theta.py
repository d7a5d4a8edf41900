"""Files of θ: safetensors with the learner's class and settings in the metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import replace_file
from lit_lul.files.hub import THETA, fetch_rule, is_reference
from lit_lul.files.tensors import check_shapes, read_tensors
from lit_lul.learners import LEARNERS, Learner

FORMAT = "lit_lul learner"
VERSION = 2
"""The metadata's `format_version` in files that this package reads and writes."""
PRETRAINED = Path(__file__).parent.parent / "pretrained"
"""The folder of the shipped rules and their cards."""

Stored = tuple[str, dict[str, Any]]
"""The name of a learner's class, and its settings by name."""


def described(learner: Learner) -> Stored:
    """Class name and settings of a learner, as plain values.

    Raises:
        InvalidInput: when the class is not registered.
    """
    name = type(learner).__name__
    if LEARNERS.get(name) is not type(learner):
        raise InvalidInput(f"learner {name}: must have @register, so that θ files may name it")
    return name, asdict(learner.settings)


def save_learner(learner: Learner, path: Path | str) -> None:
    """Write θ and the learner's class and settings to one safetensors file, atomically."""
    theta = {name: t.detach().cpu().contiguous() for name, t in learner.state_dict().items()}
    name, settings = described(learner)
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "class": name,
        "settings": json.dumps(settings),
    }
    with replace_file(Path(path)) as temporary:
        save_file(theta, temporary, metadata)


def load_learner(name_or_path: Path | str) -> Learner:
    """Load a learner from a file that `save_learner` wrote; no configuration is needed.

    The class is looked up among the registered ones, never imported from the file. Settings that
    are missing because they are newer than the file get the value that preserves its behaviour.

    Args:
        name_or_path: the name of a shipped learner, see `available_learners`; a file; or one on
            the Hugging Face hub, as `org/name` or `org/name@revision`.

    Raises:
        InvalidInput: when no such rule ships or is on the hub, when the file is missing, truncated,
            of another format or version, or when its class or one of its settings is unknown.
    """
    path = rule_path(name_or_path)
    theta, metadata = read_tensors(path, FORMAT)
    name, stored = _stored(path, metadata)
    settings = _settings(path, name, stored)
    learner = LEARNERS[name](settings)
    check_shapes(path, theta, learner.state_dict())
    learner.load_state_dict(theta)
    return learner


def load_rule(name_or_path: Path | str) -> Learner:
    """Load a rule: as `load_learner`, for learners that need no labels.

    Raises:
        InvalidInput: in the cases of `load_learner`, and for a learner that needs labels.
    """
    learner = load_learner(name_or_path)
    if learner.learns_from != "unlabelled":
        raise InvalidInput(
            f"{name_or_path}: {type(learner).__name__} learns from labels, expected a rule that "
            f"needs none, such as {', '.join(available_rules())}"
        )
    return learner


def stored_settings(name_or_path: Path | str) -> Stored:
    """Class name and all settings of the learner in a file, as `load_learner` uses them."""
    path = rule_path(name_or_path)
    name, stored = _stored(path, read_tensors(path, FORMAT)[1])
    return name, asdict(_settings(path, name, stored))


def check_settings(source: Path | str, stored: Stored, configured: Stored) -> None:
    """Check that stored class and settings agree with a configuration.

    Args:
        source: name of the file in errors.
        stored: class and settings stored with θ; missing settings are filled in.
        configured: class and settings of the configuration, which may omit settings.

    Raises:
        InvalidInput: when a setting differs, naming both values, or as for `load_learner`.
    """
    name, (class_name, settings) = stored[0], configured
    if name != class_name:
        raise InvalidInput(f"{source}: holds θ of {name}, but the configuration has {class_name}")
    found = asdict(_settings(source, name, stored[1]))
    for setting, value in settings.items():
        if _plain(found.get(setting)) != _plain(value):
            raise InvalidInput(
                f"{source}: made with {setting} {found.get(setting)}, "
                f"but the configuration says {setting} {value}"
            )


def _plain(value: object) -> object:
    """A value as JSON represents it, with tuples as lists."""
    return list(value) if isinstance(value, tuple) else value


def _stored(path: Path, metadata: Mapping[str, str]) -> Stored:
    """Class name and settings in a file's metadata, unchecked."""
    version = metadata.get("format_version", "none")
    if version != str(VERSION):
        newer = version.isdecimal() and int(version) > VERSION
        hint = ": upgrade with pip install --upgrade lit-lul" if newer else ""
        raise InvalidInput(f"{path}: format version {version}, expected {VERSION}{hint}")
    try:
        return metadata["class"], dict(json.loads(metadata["settings"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: expected class and settings in its metadata") from error


def _settings(source: Path | str, name: str, stored: Mapping[str, Any]) -> Any:
    """Settings of a registered learner, with defaults for missing settings.

    Defaults of new settings must be the behaviour from before they existed.
    """
    if name not in LEARNERS:
        raise InvalidInput(
            f"{source}: unknown learner {name}, expected one of {', '.join(sorted(LEARNERS))}"
        )
    settings_class = LEARNERS[name].settings_class
    known = [field.name for field in fields(settings_class)]
    unknown = [setting for setting in stored if setting not in known]
    if unknown:
        raise InvalidInput(
            f"{source}: unknown setting {', '.join(unknown)} of {name}, "
            f"expected only {', '.join(known)}"
        )
    try:
        return settings_class(**stored)
    except (InvalidInput, TypeError) as error:
        raise InvalidInput(f"{source}: invalid settings of {name} ({error})") from error


def available_learners() -> list[str]:
    """Names of all shipped learners, in alphabetical order."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def available_rules() -> list[str]:
    """Names of the shipped rules, the learners that need no labels, in alphabetical order."""
    return [
        name
        for name in available_learners()
        if LEARNERS[stored_settings(name)[0]].learns_from == "unlabelled"
    ]


def rule_path(name_or_path: Path | str) -> Path:
    """The file of a learner, as `load_learner` finds it.

    In this order: the name of a learner that ships; a file, or a folder with `theta.safetensors`; a
    repository on the hub, whose file is fetched into the cache of `huggingface_hub`.
    """
    path = Path(name_or_path)
    if str(name_or_path) in available_learners():
        return PRETRAINED / f"{path.name}.safetensors"
    if path.is_dir():
        return path / THETA
    if path.exists():
        return path
    if is_reference(path.as_posix()):
        return fetch_rule(path.as_posix())
    if path.suffix or len(path.parts) > 1:
        return path
    rules = available_rules()
    others = [name for name in available_learners() if name not in rules]
    raise InvalidInput(
        f"{path}: expected a .safetensors file, org/name on the Hugging Face hub, or one of the "
        f"rules that ship: {', '.join(rules) or 'none'}"
        + (f"; or a learner from labels: {', '.join(others)}" if others else "")
    )
