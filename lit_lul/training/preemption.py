"""Stopping a run by a signal: it finishes the outer step, saves and exits."""

import os
import signal
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that stop a run."""


class StopOnSignal(Callback):
    """Stops a fit after the current outer step when a signal arrives.

    A signal to one rank is enough: the module tells the others together with the gradients, so
    that all stop at the same outer step. Further signals change nothing.
    """

    number = 0
    """Number of the signal that has arrived; 0 for none."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers, which would save another checkpoint or none.

        Lightning restores all handlers at the end.
        """
        for number in SIGNALS:
            signal.signal(number, self._note)
        # Lightning broadcasts before every truncation whether rank 0 got a signal, which would
        # synchronise the ranks each time
        loop: Any = trainer.fit_loop.epoch_loop
        loop._broadcast_sigterm_tensor = lambda: None

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Kill the ranks that this process has started: they would wait for it."""
        launcher = trainer.strategy.launcher
        if launcher is not None and not isinstance(exception, Stopped):
            launcher.kill(signal.SIGKILL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            name = signal.Signals(number).name
            os.write(2, f"{name}: stopping after this outer step\n".encode())
        self.number = number


def stop_signal(trainer: Trainer) -> int:
    """Number of the signal that stops this rank's run; 0 for none."""
    callbacks: list[Callback] = vars(trainer)["callbacks"]  # which Lightning does not declare
    return next((c.number for c in callbacks if isinstance(c, StopOnSignal)), 0)


class Stopped(SystemExit):
    """Exits a run that was stopped by a signal, after it has saved.

    The exit status is 128 plus the signal's number, as for a process killed by it, and 0 on ranks
    that another rank has started.

    Args:
        trainer: the run's trainer.
        number: the signal's number.
    """

    def __init__(self, trainer: Trainer, number: int) -> None:
        strategy: Any = trainer.strategy
        environment = getattr(strategy, "cluster_environment", None)
        started = isinstance(environment, LightningEnvironment) and trainer.local_rank > 0
        super().__init__(0 if started else 128 + number)
