"""Configuration files, which may be based on another file; shipped files are found by name."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lit_lul.errors import InvalidInput

OPTIONS = ("--config", "-c")
PACKAGE = Path(__file__).parents[1]
INSTALLED = PACKAGE / "configs"
SHIPPED = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "configs"
"""The folder of the configurations that ship: within the package, or beside it in a clone."""


def with_bases(arguments: list[str]) -> list[str]:
    """Replace every configuration file by its text, merged onto its base where it has one.

    A name without a folder, such as `quickstart.yaml` or `quickstart`, is a configuration that
    ships if there is no such file. A file's top-level key `base` names another file, relative to
    its own folder, or a configuration that ships; it may have a base itself. Mappings are merged
    key by key, except where the two name different classes; other values of the file replace those
    of its base.

    Args:
        arguments: arguments of the command line.
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


def load_config(path: Path) -> DictConfig:
    """Read a configuration file, merged onto its base where it has one."""
    path = find_config(Path(), str(path))
    try:
        config = OmegaConf.load(path)
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{path}: expected a YAML configuration ({reason})") from error
    if not isinstance(config, DictConfig):
        raise InvalidInput(f"{path}: expected a YAML configuration of keys and values")
    if "base" not in config:
        return config
    below = find_config(path.parent, str(config.pop("base")))
    if below == path:
        raise InvalidInput(f"{path}: expected another file as its base")
    base = load_config(below)
    try:
        merged = OmegaConf.create(_merge(_plain(base), _plain(config)))
    except TypeError as error:
        raise InvalidInput(f"{path}: expected keys that fit on its base ({error})") from error
    assert isinstance(merged, DictConfig)
    return merged


def find_config(folder: Path, name: str) -> Path:
    """A file's path, or that of the configuration that ships under its name.

    Configurations that ship lie in folders by kind and are found by name alone: `quickstart`,
    `quickstart.yaml` and `configs/quickstart.yaml` are one.

    Args:
        folder: where a relative name begins.
        name: a path, or a name with or without `.yaml`; files take precedence.
    """
    path = folder / name
    if path.is_file() or Path(name).parent not in (Path(), Path("configs"), SHIPPED):
        return path
    shipped = sorted(SHIPPED.glob(f"*/{Path(name).name.removesuffix('.yaml')}.yaml"))
    return shipped[0] if shipped else path


def _plain(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config)
    return dict(plain)


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = base | own
    for key in base.keys() & own.keys():
        below, above = base[key], own[key]
        if isinstance(below, dict) and isinstance(above, list):
            raise TypeError(f"{key}: a mapping in the base, a list here")
        if isinstance(below, dict) and isinstance(above, dict):
            classes = [part.get("class_path") for part in (below, above)]
            merged[key] = (
                above if None not in classes and len({*classes}) == 2 else _merge(below, above)
            )
    return merged


def _merged(file: str) -> str:
    """The text of the configuration, or the name itself if there is no such file."""
    path = find_config(Path(), file)
    return OmegaConf.to_yaml(load_config(path)) if path.is_file() else file
