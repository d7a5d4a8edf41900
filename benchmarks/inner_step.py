"""The cost of an inner step, relative to the machine's limits measured in the same run.

    python benchmarks/inner_step.py --threads 1 --picture docs/inner_step.png

Medians after a warm-up; inner steps are counted per task. Work is the floating point operations of
the forward pass's matrix products and convolutions, three times that with the gradient.
"""

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from measure import (
    PRODUCT_SIZE,
    Case,
    Step,
    Variant,
    bytes_moved,
    copy_rate,
    operations,
    peak_memory,
    product_rate,
    seconds,
)
from rich.console import Console
from rich.table import Table

from lit_lul.devices import keep_freed_memory
from lit_lul.learners import UpdateSettings
from lit_lul.networks import MLP

QUICK_START = Case("quick start", MLP((64, 32, 32)), tasks=8, batch_size=32)
SMALL = Case("small", MLP((196, 64, 64, 32)), tasks=4, batch_size=64)
PAPER = Case("paper", MLP((196, 128, 128, 128, 128, 32)), 1, 128, UpdateSettings())
EAGER = Variant("eager", compiled=False)
COMPILED = Variant("compiled", compiled=True)
BF16 = Variant("compiled, bf16", compiled=True, dtype=torch.bfloat16)
UNROLLS = [1, 2, 4, 8, 16]
ALONG = {
    "units per layer": [(n, MLP((196, n, n, 32)), 64) for n in (32, 96, 256)],
    "hidden layers": [(n, MLP((196, *[64] * n, 32)), 64) for n in (1, 3, 5)],
    "batch": [(n, MLP((196, 64, 64, 32)), n) for n in (32, 64, 128, 256)],
    "inputs": [(n, MLP((n, 64, 64, 32)), 64) for n in (64, 196, 784)],
}
"""One size varied at a time; everything else is as in the small case."""


def table(title: str, *headings: str, left: int = 1) -> Table:
    """An empty table; all but the first `left` columns are aligned right."""
    made = Table(title=title, title_justify="left")
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="left" if i < left else "right")
    return made


def speeds(device: str, cases: list[Case], least: float) -> Table:
    """Every case in every variant, in absolute terms and relative to the machine's limits."""
    product = product_rate(device, torch.float32, least)
    low = product_rate(device, torch.bfloat16, least)
    copy = copy_rate(device, least)
    made = table(
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}: "
        f"{PRODUCT_SIZE}³ product {product / 1e9:.0f} GFLOP/s, in bf16 {low / 1e9:.0f}; "
        f"copy {copy / 1e9:.1f} GB/s",
        *("size", "variant", "tasks", "forward ms", "gradient ms", "recomputed ms"),
        *("steps/s", "of product", "steps/s", "of product", "of copy", "compile s"),
        left=2,
    )
    for case in cases:
        flops = operations(case)
        for variant in (EAGER, COMPILED, BF16):
            step = Step(case, variant, device)
            started = time.perf_counter()
            step.gradient()
            first = time.perf_counter() - started
            forward = seconds(step.forward, least)
            gradient = seconds(step.gradient, least)
            again = seconds(partial(step.gradient, recompute=True), least)
            moved = bytes_moved(Step(case, EAGER, device).gradient) / gradient / copy
            made.add_row(
                *(case.name, variant.name, str(case.tasks)),
                *(f"{t * 1e3:.1f}" for t in (forward, gradient, again)),
                *(f"{case.tasks / forward:.1f}", f"{flops / forward / product:.0%}"),
                *(f"{case.tasks / gradient:.1f}", f"{3 * flops / gradient / product:.0%}"),
                f"{moved:.0%}" if variant is EAGER else "",
                f"{first - gradient:.1f}" if variant.compiled else "",
            )
    return made


def tasks_at_once(device: str, least: float) -> Table:
    """T tasks in one call, compared with one after another."""
    made = table("tasks at once, small", "variant", "T", "gradient ms", "ms per task", "gain")
    for variant in (EAGER, COMPILED):
        alone = None
        for tasks in (1, 2, 4, 8, 16):
            time_ = seconds(Step(replace(SMALL, tasks=tasks), variant, device).gradient, least)
            alone = alone or time_
            gain = f"{alone * tasks / time_:.2f}×"
            row = (f"{time_ * 1e3:.1f}", f"{time_ / tasks * 1e3:.1f}", gain)
            made.add_row(variant.name, str(tasks), *row)
    return made


def costs(device: str, least: float) -> tuple[Table, dict[str, list[tuple[int, float, float]]]]:
    """Milliseconds per task with gradient, and operations, along every size."""
    made = table("cost, compiled", "along", "size", "ms per task", "GFLOP", "GFLOP/s")
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for along, cases in ALONG.items():
        curves[along] = []
        for size, network, batch_size in cases:
            case = replace(SMALL, network=network, batch_size=batch_size)
            step = Step(case, COMPILED, device)
            per_task = seconds(step.gradient, least) / case.tasks
            flops = 3 * operations(case) / case.tasks
            curves[along].append((size, per_task * 1e3, flops / 1e9))
            row = (f"{per_task * 1e3:.1f}", f"{flops / 1e9:.2f}", f"{flops / per_task / 1e9:.0f}")
            made.add_row(along, str(size), *row)
    return made, curves


def memory(device: str) -> tuple[Table, dict[str, list[float]]]:
    """Peak memory of an unroll of U steps in MiB, with activations stored or recomputed."""
    made = table("memory of an unroll, small, MiB", "", *(f"U = {u}" for u in UNROLLS))
    curves = {}
    for name, recompute in (("kept", False), ("recomputed", True)):
        peaks = [peak_memory(SMALL, device, recompute, steps) / 2**20 for steps in UNROLLS]
        curves[name] = peaks
        made.add_row(name, *(f"{peak:.0f}" for peak in peaks))
    return made, curves


def draw(
    costs: dict[str, list[tuple[int, float, float]]], memory: dict[str, list[float]]
) -> Figure:
    """A figure of the cost along every size, and of memory along the unroll."""
    figure = Figure(figsize=(13, 2.8), layout="constrained")
    axes = figure.subplots(1, len(costs) + 1)
    for axis, (along, points) in zip(axes, costs.items(), strict=False):
        sizes, times, flops = zip(*points, strict=True)
        axis.plot(sizes, times, "o-", label="measured")
        scaled = [f * times[-1] / flops[-1] for f in flops]
        axis.plot(sizes, scaled, ":", label="as the operations grow")
        axis.set(xlabel=along, ylabel="ms per task and inner step", ylim=(0, None))
    axes[0].legend(fontsize=8)
    for name, peaks in memory.items():
        axes[-1].plot(UNROLLS, peaks, "o-", label=name)
    axes[-1].set(xlabel="inner steps of an unroll", ylabel="peak MiB", ylim=(0, None))
    axes[-1].legend(fontsize=8)
    return figure


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--paper-tasks", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--min-run-time", type=float, default=2.0, help="seconds per measurement")
    parser.add_argument("--picture", type=Path, help="file for the plot")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    console = Console(width=150)
    papers = [replace(PAPER, tasks=tasks) for tasks in args.paper_tasks]
    console.print(speeds(args.device, [QUICK_START, SMALL, *papers], args.min_run_time))
    console.print(tasks_at_once(args.device, args.min_run_time))
    cost_table, cost_curves = costs(args.device, args.min_run_time)
    console.print(cost_table)
    memory_table, memory_curves = memory(args.device)
    console.print(memory_table)
    if args.picture is not None:
        draw(cost_curves, memory_curves).savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
