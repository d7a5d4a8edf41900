"""How fast a run goes, how much memory it takes and how long it has left."""

import re
import time
from pathlib import Path

import torch


class Throughput:
    """Counts inner steps and outer steps since the last look at the clock."""

    def __init__(self) -> None:
        self._inner_steps, self._outer_steps, self._since = 0, 0, time.perf_counter()

    def count(self, inner_steps: int = 0, outer_steps: int = 0) -> None:
        """Add what was done: inner steps, of one task each, and outer steps."""
        self._inner_steps += inner_steps
        self._outer_steps += outer_steps

    def lap(self) -> tuple[float, float]:
        """Inner steps and outer steps per second since the last call, on this rank."""
        now = time.perf_counter()
        seconds = now - self._since
        speeds = self._inner_steps / seconds, self._outer_steps / seconds
        self._inner_steps, self._outer_steps, self._since = 0, 0, now
        return speeds


def peak_memory(device: torch.device) -> float:
    """The most memory that this process has had so far, in GiB.

    Of a GPU what was allocated there, else the resident size of the process; nan where the system
    does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    return int(found[1]) / 2**20 if found else float("nan")
