"""The command `report`: one table of studies, and parsing their options."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from jsonargparse import ArgumentParser

from lit_lul.errors import InvalidInput

COMMANDS = {
    "suite": ("lit_lul.report.suite", "rules and baselines on the datasets of the suite"),
    "results": ("lit_lul.report.suite", "curves of rules on held-out data, with baselines"),
    "figures": ("studies.figures.command", "the figures of Metz et al. 2018, with checks"),
    "prior": ("studies.prior", "worlds of the synthetic prior beside real datasets"),
    "few_shot": ("studies.few_shot.few_shot", "few-shot learners and rules on test episodes"),
    "adaptation": ("studies.few_shot.few_shot", "how learned starts adapt"),
    "baselines": ("studies.baselines.baselines", "rules beside every baseline"),
    "ablations": ("studies.ablations", "runs of a sweep over the parts of the rule"),
    "optimizers": ("studies.optimizers", "learned optimizers beside tuned ones"),
}
"""Module and summary of every report; the function has the report's name."""
CLONE = Path(__file__).parents[2]
"""The folder that the package lies in; in a clone the package `studies` lies there too."""
LISTS = {
    "rules": "shipped rules or files of θ",
    "runs": "folders of sweeps that have run",
    "only": "measure only these datasets, problems, figures or panels",
    "datasets": "measure only these datasets",
}
"""Options that take several values, with their help."""


def report(arguments: list[str]) -> None:
    """Write the report that the arguments name; only its own module is imported.

    Raises:
        ArgumentError: for an invalid option.
        InvalidInput: for a study without a clone, and in the cases of the commands.
    """
    parser = ArgumentParser(prog="lit_lul report", description=__doc__, exit_on_error=False)
    subcommands = parser.add_subcommands()
    function: Callable[..., None] | None = None
    for name, (module, summary) in COMMANDS.items():
        of_function = ArgumentParser(exit_on_error=False)
        if name in arguments[:1]:
            function = _load(name, module)
            _add_options(of_function, function)
        subcommands.add_subcommand(name, of_function, help=summary)
    parsed = parser.parse_args(arguments)
    assert function is not None  # else the parser has ended
    function(**vars(parser.instantiate(parsed)[parsed.subcommand]))


def _load(name: str, module: str) -> Callable[..., None]:
    if module.startswith("studies."):
        if not CLONE.joinpath(*module.split(".")).with_suffix(".py").is_file():
            raise InvalidInput(f"report {name}: studies need a clone of the repository")
        sys.path.insert(0, str(CLONE))
    function: Callable[..., None] = getattr(import_module(module), name)
    return function


def _add_options(parser: ArgumentParser, function: Callable[..., None]) -> None:
    names = function.__annotations__
    parser.add_function_arguments(function, skip={*LISTS, "quick"})
    for option in (option for option in LISTS if option in names):
        required = option in ("rules", "runs")
        parser.add_argument(f"--{option}", nargs="+", required=required, help=LISTS[option])
    if "quick" in names:
        parser.add_argument("--quick", action="store_true", help="few draws and steps")
