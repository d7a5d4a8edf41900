"""The command `report`: parsing its subcommands."""

from collections.abc import Callable

from jsonargparse import ArgumentParser

from lit_lul.report.results import results
from lit_lul.report.suite import suite
from studies.ablations.ablations import ablations
from studies.baselines.baselines import baselines
from studies.few_shot.adaptation_command import adaptation
from studies.few_shot.table import few_shot
from studies.figures.command import figures
from studies.optimizers.optimizers import optimizers
from studies.prior.prior import prior

COMMANDS: dict[str, Callable[..., None]] = {
    "suite": suite,
    "results": results,
    "figures": figures,
    "prior": prior,
    "few_shot": few_shot,
    "adaptation": adaptation,
    "baselines": baselines,
    "ablations": ablations,
    "optimizers": optimizers,
}
LISTS = {
    "rules": "shipped rules or files of θ",
    "runs": "folders of sweeps that have run",
    "only": "measure only these datasets, problems, figures or panels",
    "datasets": "measure only these datasets",
}
"""Options that take several values, with their help."""


def report(arguments: list[str]) -> None:
    """Write the report that the arguments name.

    Raises:
        ArgumentError: for an invalid option.
        InvalidInput: in the cases of the commands.
    """
    parser = ArgumentParser(prog="lit_lul report", description=__doc__, exit_on_error=False)
    subcommands = parser.add_subcommands()
    for name, function in COMMANDS.items():
        of_function = ArgumentParser(exit_on_error=False)
        names = function.__annotations__
        of_function.add_function_arguments(function, skip={*LISTS, "quick"})
        for option in (name for name in LISTS if name in names):
            required = option in ("rules", "runs")
            of_function.add_argument(
                f"--{option}", nargs="+", required=required, help=LISTS[option]
            )
        if "quick" in names:
            of_function.add_argument("--quick", action="store_true", help="few draws and steps")
        subcommands.add_subcommand(name, of_function, help=(function.__doc__ or "").splitlines()[0])
    parsed = parser.parse_args(arguments)
    options = parser.instantiate(parsed)[parsed.subcommand]
    COMMANDS[parsed.subcommand](**vars(options))
