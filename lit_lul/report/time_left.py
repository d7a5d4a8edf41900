"""Progress of a report."""

import time
from collections.abc import Callable

from rich.console import Console


def time_left(total: float, console: Console) -> Callable[[str, float], None]:
    """A function that prints what has been done, and the time left for a total of work."""
    done, start = 0.0, time.monotonic()

    def tell(what: str, work: float) -> None:
        nonlocal done
        done += work
        left = (time.monotonic() - start) * (total / done - 1) / 60 if done else 0
        console.print(f"{what}, about {left:.0f} minutes left" if left else what)

    return tell
