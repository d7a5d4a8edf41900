"""Memory against the length of the unroll."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, torch
from pathlib import Path
from lit_lul.estimators import TruncatedBackprop
from lit_lul.estimators.estimator import Truncation
from lit_lul.learners import Batch, UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLP
from lit_lul.objectives import FewShotRidge
from lit_lul.objectives.objective import Labelled

rule = UnsupervisedUpdate(UpdateSettings(hidden_channels=32, error_channels=16, top_channels=32))
network = MLP((64, 32, 32))
x, y = torch.rand(5, 4, 100, 64), torch.eye(10).repeat(10, 1).expand(5, 4, 100, 10)
columns = torch.ones(4, 10, dtype=torch.bool)
labelled = Labelled(x, y, x, y, columns, columns)

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

def unroll(steps, recompute):
    state = rule.start(network, 4, torch.Generator().manual_seed(0))
    batches = [Batch(x) for x in torch.rand(steps, 4, 32, 64)]
    truncation = Truncation(network, 4, batches, labelled, 0, 0)
    before = peak()
    TruncatedBackprop(recompute)(rule, FewShotRidge(), state, truncation)
    print(peak() - before, flush=True)

for case in ((2, True), (8, True), (8, False)):
    if os.fork() == 0:  # a peak of its own
        unroll(*case)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak from /proc")
def test_memory_does_not_grow_with_the_unroll() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},  # no gaps in the heap to measure
        capture_output=True,
        text=True,
        check=True,
    )
    short, long, kept = map(int, done.stdout.split())
    assert long <= 1.5 * short
    assert kept > 2 * short
