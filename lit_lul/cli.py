"""The command line: fit, validate and test on LightningCLI, and functions that are commands."""

import re
import sys
from argparse import ArgumentError
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import Namespace, auto_cli, set_parsing_settings
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from torch.distributed import DistError

from lit_lul.apply.predict import predict
from lit_lul.devices import check_precision, fast_precision, has_compiler, keep_freed_memory
from lit_lul.errors import InvalidInput
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.configs import with_bases
from lit_lul.files.tf_checkpoint import import_released
from lit_lul.files.theta import check_settings
from lit_lul.learners import LEARNERS
from lit_lul.report.command import report
from lit_lul.sweep import LOGGER, sweep
from lit_lul.training.checkpoints import (
    AtomicCheckpointIO,
    RunCheckpoint,
    StartFrom,
    settings_within,
)
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.held_out_curve import HeldOutCurve
from lit_lul.training.loggers import (
    LAST,
    OuterStepProgressBar,
    RunConfig,
    check_installed,
    claim_version,
    last_run,
)
from lit_lul.training.module import MetaLightningModule
from lit_lul.training.preemption import StopOnSignal
from lit_lul.training.rule_card import RuleCard
from lit_lul.training.wandb_logger import keep_run_ids

FILE_LOGGERS = (LOGGER, "lightning.pytorch.loggers.TensorBoardLogger")
DEFAULT_LOGGER = {"class_path": LOGGER, "init_args": {"save_dir": "runs", "name": "default"}}
"""The default logger, used where the configuration sets none."""

DESCRIPTION = (
    "Meta-train learning rules and evaluate them. "
    "To apply a rule to your own data: predict (see predict --help). "
    "To compare rules with baselines: report (see report --help). "
    "To run a sweep on this machine: sweep (see sweep --help). "
    "To import θ that the paper's authors released: import (see import --help)."
)

HIDDEN = {"model", "datamodule", "weights_only"}
COMMANDS: dict[str, Callable[..., None] | set[str]] = {
    "fit": HIDDEN | {"train_dataloaders", "val_dataloaders"},
    "validate": HIDDEN | {"dataloaders"},
    "test": HIDDEN | {"dataloaders"},
    "predict": predict,
    "import": import_released,
    "sweep": sweep,
    "report": report,
}
"""Commands: a function, whose arguments are options, or for methods of the trainer the arguments
that are no options. `report` parses its own."""
TRAINER = {name: hidden for name, hidden in COMMANDS.items() if isinstance(hidden, set)}
NOT_MEANT = re.compile(r" - Expected a path but .*? invalid")
"""What the parser tries as well where a value may be a class: a file of its settings."""


class LitLulCLI(LightningCLI):
    """LightningCLI with one folder per run; values shared by model and data are linked."""

    def __init__(self, args: list[str]) -> None:
        """Run `args`; where they begin with a command, the slow parsers of others are not made."""
        self.commands = {name: TRAINER[name] for name in args[:1] if name in TRAINER} or TRAINER
        parser = {"parser_mode": "omegaconf+", "exit_on_error": False}
        super().__init__(
            MetaLightningModule,
            TaskDataModule,
            args=args,
            trainer_defaults={
                "logger": [DEFAULT_LOGGER],
                "num_sanity_val_steps": 0,
                "inference_mode": False,  # learners may compute gradients in rollouts
            },
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=RunConfig,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={
                "description": DESCRIPTION,
                **parser,
                **dict.fromkeys(self.commands, parser),
            },
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override] # static, but called on self
        """The commands that are parsed, each with the arguments that are no options of it."""
        return self.commands

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add options for held-out curves, checkpoints and initial θ; link shared values."""
        parser.add_argument(
            "--held_out",
            type=dict[str, HeldOut],
            default={"digits": {}},
            help="held-out curves by name, on data that meta-training never sees",
        )
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_argument(
            "--start_from",
            type=str | None,
            default=None,
            help="last.ckpt or θ of another run: fit starts with its θ and optimizer state",
        )
        parser.link_arguments("seed_everything", "data.seed")
        parser.link_arguments(
            "model", "data.embedding_units", compute_fn=_embedding_units, apply_on="instantiate"
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse `args`; `sys.argv` is kept for the ranks that Lightning starts."""
        self.config, self.args = parser.parse_args(args), args

    def before_instantiate_classes(self) -> None:
        """Choose what suits the machine and the run's folder; read the settings of θ."""
        config = self.config[self.subcommand]
        self._suit_the_machine(config)
        every = config.trainer.logger or []
        check_installed(logger.class_path for logger in every)
        files = [logger.init_args for logger in every if logger.class_path in FILE_LOGGERS]
        loggers = [arguments for arguments in files if arguments.version is None]
        root = Path(loggers[0].save_dir) / (loggers[0].name or "") if loggers else Path()
        resumed = None
        if config.ckpt_path == "last":
            resumed = last_run(root)
            config.ckpt_path = str(root / f"version_{resumed}" / LAST)
        self._take_settings(config)
        own = resumed is not None and self.subcommand == "fit"
        self.source = None if own else config.ckpt_path or config.start_from
        if loggers:
            version = resumed if own else claim_version(root)
            for logger in loggers:  # one folder for the files of a run
                logger.save_dir, logger.name = loggers[0].save_dir, loggers[0].name
                logger.version = version

    def _take_settings(self, config: Any) -> None:
        """Replace the configuration's learner by the one stored with θ, with its settings."""
        source = config.ckpt_path or config.start_from
        if source is None:
            return
        name, settings = settings_within(source)
        seed = f"--seed_everything={config.seed_everything}"  # data.seed is linked to it
        said = self.parser.parse_args([self.args[0], seed, *self.args[1:]], defaults=False)
        said = said[str(self.subcommand)].get("model.learner")
        if said is not None and config.model.learner is not None:
            configured = config.model.learner.class_path.rpartition(".")[2]
            values = said.get("init_args.settings")
            values = values.as_dict() if values else {}
            check_settings(source, (name, settings), (configured, values))
        if name not in LEARNERS:
            raise InvalidInput(f"{source}: unknown learner {name}, import the file that has it")
        space: Any = Namespace  # jsonargparse leaves its constructor without types
        path = f"{LEARNERS[name].__module__}.{name}"
        config.model.learner = space(class_path=path, init_args=space(settings=space(**settings)))

    def _suit_the_machine(self, config: Any) -> None:
        """Choose compilation where it is null, and then precision if it is null too."""
        if config.model.compile is not None:
            return
        config.model.compile = has_compiler()
        compiled, trainer = config.model.compile, config.trainer
        if trainer.precision is None:
            trainer.precision = fast_precision(trainer.accelerator, compiled)
        if not getattr(rank_zero_only, "rank", None):
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            chosen = f"model.compile {str(compiled).lower()}, trainer.precision {trainer.precision}"
            console.print(f"for this machine: {chosen}")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer with this package's progress bar, files and signal handling."""
        given = self.config_init[self.subcommand]
        config, data_root = given.trainer, self.datamodule.data_root
        check_precision(config.precision)
        config.plugins = [*(config.plugins or []), AtomicCheckpointIO()]
        self.curves = [
            HeldOutCurve(name, entry, data_root) for name, entry in (given.held_out or {}).items()
        ]
        start = [] if given.start_from is None else [StartFrom(given.start_from)]
        bar = [] if config.enable_progress_bar is False else [OuterStepProgressBar()]
        self.card = RuleCard(self.curves, self.datamodule.datasets, self.source)
        own = [StopOnSignal(), *bar, *self.curves, self.card]
        config.callbacks = [*start, *(config.callbacks or []), *own]
        trainer = super().instantiate_trainer(**kwargs)
        keep_run_ids(trainer.loggers)
        return trainer

    def _parse_ckpt_path(self) -> None:
        """Do nothing: checkpoints hold no hyperparameters that could replace the options."""

    def after_fit(self) -> None:
        """Print the held-out curves, the rollouts on new tasks, and the paths of the results."""
        if not self.trainer.is_global_zero:
            return
        console = Console(soft_wrap=True, highlight=False)
        for curve in self.curves:
            console.print("\n" + curve.summary())
        measured = self.trainer.callback_metrics
        for stage in ("val", "test"):  # rollouts on tasks that training never sees
            if f"{stage}/accuracy" in measured:
                accuracy, loss = measured[f"{stage}/accuracy"], measured[f"{stage}/meta_loss"]
                console.print(f"{stage:<8} accuracy {accuracy:.1%}, meta-loss {loss:.4f}")
        if self.subcommand == "fit":
            console.print(f"θ        {self.card.theta}\ncard     {self.card.path}")

    after_validate = after_test = after_fit


def _embedding_units(module: MetaLightningModule) -> int:
    return module.learner.embedding_units


def main(args: list[str] | None = None) -> None:
    """Run the command line with `args`, by default the arguments of the process.

    Raises:
        InvalidInput: for an invalid option, value, file or checkpoint.
    """
    keep_freed_memory()
    set_parsing_settings(
        omegaconf_absolute_to_relative_paths=True,
        docstring_parse_attribute_docstrings=True,
    )
    given = sys.argv[1:] if args is None else args
    name = given[0] if given else ""
    command = COMMANDS.get(name)
    try:
        if command is report:
            report(given[1:])
        elif callable(command):
            options = with_bases(given[1:])
            auto_cli(command, args=options, prog=f"lit_lul {name}", exit_on_error=False)
        else:
            LitLulCLI(with_bases(given))
    except (ArgumentError, OmegaConfBaseException) as error:
        raise root_cause(error) or InvalidInput(reason_of(error)) from error
    except ValueError as error:
        if root := root_cause(error):
            raise root from error
        raise
    except RuntimeError as error:
        if not isinstance(error, DistError) and "by peer" not in str(error):
            raise
        raise InvalidInput("another rank failed, so this one stops") from error


def root_cause(error: BaseException | None) -> InvalidInput | None:
    """The `InvalidInput` among the causes of a parser's error, if any."""
    while error is not None and not isinstance(error, InvalidInput):
        error = error.__cause__ or error.__context__
    return error


def reason_of(error: Exception) -> str:
    """The part of a parser's message that names the problem, in one line."""
    text = NOT_MEANT.sub("", " ".join(str(error).split()))
    key, union, rest = text.partition(" Does not validate against any of the Union subtypes")
    if not union:
        return text
    return f"{key}{rest.partition(' Errors: -')[2].partition(' - Expected a <class')[0]}"
