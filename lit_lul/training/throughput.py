"""Speed and memory use of a run."""

import re
import time
from pathlib import Path

import torch


class Throughput:
    """Counts inner steps and truncations per second."""

    def __init__(self) -> None:
        self._inner_steps, self._truncations, self._since = 0, 0, time.perf_counter()

    def count(self, inner_steps: int) -> None:
        """Add a completed truncation; inner steps are counted per task."""
        self._inner_steps += inner_steps
        self._truncations += 1

    def lap(self) -> tuple[float, float]:
        """Inner steps and truncations per second since the last call, on this rank."""
        now = time.perf_counter()
        seconds = now - self._since
        speeds = self._inner_steps / seconds, self._truncations / seconds
        self._inner_steps, self._truncations, self._since = 0, 0, now
        return speeds


def peak_memory(device: torch.device) -> float:
    """Peak memory of this process so far, in GiB.

    On a GPU the memory allocated there, else the resident size of the process; NaN where the system
    does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    return int(found[1]) / 2**20 if found else float("nan")
