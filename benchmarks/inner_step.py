"""Time one inner step against a large square matrix product of the same run.

    python benchmarks/inner_step.py

For the quick start's and the paper's sizes: forward; with the gradient of θ, activations kept; and
with the gradient, activations recomputed. Medians after a warm-up. Work is counted in floating
point operations of the forward pass (`torch.utils.flop_counter`), three times that with the
gradient and four times with recomputation.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.benchmark import Timer
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from lit_lul.base_model import MLP
from lit_lul.rules import RuleSettings, UnsupervisedUpdate

PRODUCT_SIZE = 2048


@dataclass
class Case:
    """One size of the rule and of what it is applied to."""

    name: str
    base_model: MLP
    tasks: int
    batch_size: int
    rule: RuleSettings


CASES = [
    Case(
        "quick start",
        MLP((64, 32, 32)),
        tasks=8,
        batch_size=32,
        rule=RuleSettings(hidden_channels=32, error_channels=16, top_channels=32),
    ),
    Case("paper", MLP((196, 128, 128, 128, 128, 32)), 1, 128, RuleSettings()),
    Case("paper", MLP((196, 128, 128, 128, 128, 32)), 4, 128, RuleSettings()),
]


def seconds(function: Callable[[], Any], min_run_time: float) -> float:
    """Median time of a call."""
    function()
    timer = Timer("function()", globals={"function": function}, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=min_run_time).median)


def measure(case: Case, device: str, min_run_time: float) -> tuple[float, dict[str, float]]:
    """Operations of a forward pass, and the seconds of an inner step in every mode."""
    torch.manual_seed(0)
    rule = UnsupervisedUpdate(case.rule).to(device)
    phi = case.base_model.init(case.tasks, torch.Generator().manual_seed(0))
    phi = phi.map(lambda p: p.to(device))
    x = torch.rand(case.tasks, case.batch_size, case.base_model.sizes[0], device=device)

    def forward() -> None:
        with torch.no_grad():
            rule(case.base_model, phi, x)

    def with_gradient(recompute: bool) -> None:
        if recompute:
            following = checkpoint(rule, case.base_model, phi, x, use_reentrant=False)
        else:
            following = rule(case.base_model, phi, x)
        torch.stack([w.square().sum() for w in following.weights]).sum().backward()

    with FlopCounterMode(display=False) as counter:
        forward()
    return counter.get_total_flops(), {
        "forward": seconds(forward, min_run_time),
        "with gradient": seconds(lambda: with_gradient(False), min_run_time),
        "with gradient, recomputed": seconds(lambda: with_gradient(True), min_run_time),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--min-run-time", type=float, default=5.0, help="seconds per measurement")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    a = torch.rand(PRODUCT_SIZE, PRODUCT_SIZE, device=args.device)
    product = 2 * PRODUCT_SIZE**3 / seconds(lambda: a @ a, args.min_run_time)
    table = Table(
        title=f"{args.device}, {args.threads} threads, torch {torch.__version__}: "
        f"{PRODUCT_SIZE}³ product {product / 1e9:.0f} GFLOP/s"
    )
    for heading in ("size", "tasks", "mode", "ms", "inner steps/s", "GFLOP/s", "of the product"):
        table.add_column(heading, justify="left" if heading in ("size", "mode") else "right")
    for case in CASES:
        flops, modes = measure(case, args.device, args.min_run_time)
        for passes, (mode, time) in zip((1, 3, 4), modes.items(), strict=True):
            rate = passes * flops / time
            table.add_row(
                case.name,
                str(case.tasks),
                mode,
                f"{time * 1e3:.1f}",
                f"{case.tasks / time:.1f}",
                f"{rate / 1e9:.0f}",
                f"{rate / product:.0%}",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
