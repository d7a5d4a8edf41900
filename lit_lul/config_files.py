"""Configuration files that start from another one."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lit_lul.errors import InvalidInput

OPTIONS = ("--config", "-c")


def with_bases(arguments: list[str]) -> list[str]:
    """Replace every configuration file that has a `base` by the merger of the two.

    A file's top-level key `base` names another file, relative to its own folder, which may have a
    base itself. Mappings are merged key by key; of all else the file's own value counts.

    Args:
        arguments: of the command line.

    Raises:
        InvalidInput: when a base is missing or not a configuration.
    """
    expanded = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=")
        if before in OPTIONS:
            expanded.append(_merged(argument))
        elif equals and option in OPTIONS:
            expanded.append(f"{option}={_merged(value)}")
        else:
            expanded.append(argument)
    return expanded


def _merged(file: str) -> str:
    """The file's name where it has no base, else the text of the merged configuration."""
    path = Path(file)
    if not path.is_file() or "base" not in (config := _load(path)):
        return file
    return OmegaConf.to_yaml(_merge_base(path, config))


def _merge_base(path: Path, config: DictConfig) -> DictConfig:
    if "base" not in config:
        return config
    base = path.parent / str(config.pop("base"))
    if not base.is_file():
        raise InvalidInput(f"{path}: base {base} is no file")
    merged: Any = OmegaConf.merge(_merge_base(base, _load(base)), config)
    return merged  # type: ignore[no-any-return]


def _load(path: Path) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: expected a YAML configuration ({reason})") from error
    if not isinstance(config, DictConfig):
        raise InvalidInput(f"{path}: expected a YAML configuration of keys and values")
    return config
