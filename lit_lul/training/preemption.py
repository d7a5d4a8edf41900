"""Runs that are asked to stop: they finish the outer step, save and leave."""

import os
import signal
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What a cluster or a person asks a run to stop with."""


class StopOnSignal(Callback):
    """Has a fit stop after the current outer step when a signal asks for it.

    One rank that is asked is enough: the module tells the others together with the gradients, so
    that all save the same outer step. Asking again changes nothing.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over from Lightning, which would save another kind of checkpoint, or none.

        Lightning gives all signals back at the end.
        """
        module: Any = pl_module

        def note(number: int, frame: FrameType | None) -> None:
            if not module.stop_signal:
                name = signal.Signals(number).name
                os.write(2, f"{name}: stopping after this outer step\n".encode())
            module.stop_signal = number

        for number in SIGNALS:
            signal.signal(number, note)
        # Lightning has rank 0 tell the others before every truncation whether it was asked to stop;
        # they would wait for each other as often
        loop: Any = trainer.fit_loop.epoch_loop
        loop._broadcast_sigterm_tensor = _nothing

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End the ranks that this process has started: they would wait for it."""
        launcher = trainer.strategy.launcher
        if launcher is not None and not isinstance(exception, Stopped):
            launcher.kill(signal.SIGKILL)


class Stopped(SystemExit):
    """A run that has saved and ends because a signal asked for it.

    Its exit status is 128 and the signal's number, as of a process that the signal ended. A rank
    that another one has started leaves that to it.

    Args:
        trainer: the run's.
        number: the signal's.
    """

    def __init__(self, trainer: Trainer, number: int) -> None:
        strategy: Any = trainer.strategy
        environment = getattr(strategy, "cluster_environment", None)
        started = isinstance(environment, LightningEnvironment) and trainer.local_rank > 0
        super().__init__(0 if started else 128 + number)


def _nothing() -> None:
    """In place of what is not to be done."""
