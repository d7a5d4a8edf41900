"""Progress of a report: a line for what was measured, with the time left."""

import time
from collections.abc import Callable

from rich.console import Console


def progress(total: int, console: Console) -> Callable[[str, int], None]:
    """A function that prints what has been done, and the time left for a total of units of work."""
    done, start = 0, time.monotonic()

    def tell(what: str, units: int) -> None:
        nonlocal done
        done += units
        left = (time.monotonic() - start) * (total / done - 1) / 60 if done else 0
        console.print(f"{what}, about {left:.0f} minutes left" if left else what)

    return tell
