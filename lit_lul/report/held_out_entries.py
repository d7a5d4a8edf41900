"""Entries of held-out datasets, read from a configuration file."""

from argparse import ArgumentError
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.configs import load_config
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Objective


def read_values(config: Path) -> dict[str, Any]:
    """The values of a configuration file, merged onto its base.

    Raises:
        InvalidInput: when the file is missing or not a configuration.
    """
    try:
        values: Any = OmegaConf.to_container(load_config(config), resolve=True)
    except OmegaConfBaseException as error:
        raise InvalidInput(f"{config}: {' '.join(str(error).split())}") from error
    return dict(values)


def make_entries(
    config: Path, held_out: Any, objective: Any = None
) -> tuple[dict[str, HeldOut], Objective]:
    """Held-out datasets by name, and the objective.

    Args:
        config: the file, for errors.
        held_out: settings by name.
        objective: class and settings, None for `FewShotRidge`.

    Raises:
        InvalidInput: when a value is invalid.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--held_out", type=dict[str, HeldOut], required=True)
    parser.add_argument("--objective", type=Objective, default=FewShotRidge())
    given = {"held_out": held_out} | ({} if objective is None else {"objective": objective})
    try:
        made = parser.instantiate(parser.parse_object(given))
    except ArgumentError as error:
        raise InvalidInput(f"{config}: {' '.join(str(error).split())}") from error
    return made.held_out, made.objective
