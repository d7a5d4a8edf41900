"""Episodes per second of MAML's gradient, compared with a plain loop and, if installed, torchopt.

    python benchmarks/maml.py

Five inner steps on Conv4 with second derivatives: the gradient of the initial φ over a meta-batch
of 5-way episodes with 15 queries per class. The others take one task after another, as in the
examples of such libraries. All gradients are compared first, which warms up. Calls alternate; a
ratio is the median over rounds of the other's time by ours. Time is that of the CPU, of one thread.
"""

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lit_lul.devices import keep_freed_memory
from lit_lul.estimators import TruncatedBackprop, Truncation
from lit_lul.learners import MAML, Batch, MAMLSettings
from lit_lul.networks import ConvNet
from lit_lul.networks.mlp import BATCH_NORM_EPS
from lit_lul.objectives import CrossEntropy, Labelled

WAYS, QUERIES, SIDE, STEPS, RATE = 5, 15, 14, 5, 0.1
Gradient = Callable[[], list[Tensor]]
"""The gradient of every tensor of the initial φ, in the order of `MAML.initial`."""


class Block(nn.Module):
    """Convolution, batch norm of the batch's statistics, relu and max pooling."""

    def __init__(self, below: int, channels: int, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(below, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(
            channels, BATCH_NORM_EPS, affine=False, track_running_stats=False
        )
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """The images of the next block."""
        x = F.relu(self.norm(self.conv(x)) + self.bias)
        return F.max_pool2d(x, 2) if self.pool else x


class Conv4(nn.Module):
    """The learner's network and initial φ, as the other libraries take them."""

    def __init__(self, learner: MAML) -> None:
        super().__init__()
        network = learner.network
        assert isinstance(network, ConvNet)
        phi = learner.start(network, 1, torch.Generator())["params"]
        *kernels, head = (w[0] for w in phi["weights"])
        blocks = [
            Block(k.shape[1], k.shape[0], side > 1)
            for k, side in zip(kernels, network.sides, strict=False)  # the last is the head's
        ]
        self.convolutions, self.head = nn.Sequential(*blocks), nn.Linear(*head.shape)
        self.weights = [*(block.conv.weight for block in blocks), self.head.weight]
        self.biases = [*(block.bias for block in blocks), self.head.bias]
        with torch.no_grad():
            for own, w in zip(self.weights, [*kernels, head.T], strict=True):
                own.copy_(w)
            for own, b in zip(self.biases, phi["biases"], strict=True):
                own.copy_(b[0].view_as(own))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (B, 1, side, side)."""
        logits: Tensor = self.head(self.convolutions(x).flatten(1))
        return logits

    def gradient(self, losses: list[Tensor]) -> list[Tensor]:
        """The gradient of the mean loss, in the order and shapes of `MAML.initial`."""
        mean = torch.stack(losses).mean()
        parts = torch.autograd.grad(mean, [*self.weights, *self.biases])
        *kernels, head = parts[: len(self.weights)]
        return [*kernels, head.T, *parts[len(self.weights) :]]


class Episodes:
    """A meta-batch of random episodes, for all at once and one after another."""

    def __init__(self, tasks: int, shots: int) -> None:
        generator = torch.Generator().manual_seed(0)
        sides = []
        for count in (shots, QUERIES):
            y = torch.eye(WAYS).repeat(count, 1).expand(1, tasks, -1, -1)
            x = torch.rand(*y.shape[:-1], SIDE**2, generator=generator)
            sides += [x + 0.3 * y.argmax(-1, keepdim=True) / WAYS, y]
        columns = torch.ones(tasks, WAYS, dtype=torch.bool)
        support_x, support_y, query_x, query_y = sides
        self.labelled = Labelled(support_x, support_y, query_x, query_y, columns, columns)

    def __iter__(self) -> Any:
        """Images and classes of support and query of every task."""
        of_tasks = [side[0] for side in self.labelled[:4]]
        for support_x, support_y, query_x, query_y in zip(*of_tasks, strict=True):
            images = [x.view(-1, 1, SIDE, SIDE) for x in (support_x, query_x)]
            yield images[0], support_y.argmax(-1), images[1], query_y.argmax(-1)


def ours(learner: MAML, episodes: Episodes) -> Gradient:
    """All tasks at once, as in meta-training."""
    labelled, estimator = episodes.labelled, TruncatedBackprop(recompute=False)
    batches = [Batch(labelled.support_x[0], labelled.support_y[0])] * STEPS
    tasks = labelled.support_x.shape[1]
    truncation = Truncation(learner.network, tasks, batches, labelled, 0, 0)
    initial = list(learner.initial.values())

    def gradient() -> list[Tensor]:
        flat = estimator(learner, CrossEntropy(), None, truncation).gradient
        parts = flat.split([p.numel() for p in initial])
        return [part.view_as(p) for part, p in zip(parts, initial, strict=True)]

    return gradient


def loop(learner: MAML, episodes: Episodes) -> Gradient:
    """A plain loop over tasks with torch.func."""
    net = Conv4(learner)

    def gradient() -> list[Tensor]:
        losses = []
        for x, y, query_x, query_y in episodes:
            phi: dict[str, Tensor] = dict(net.named_parameters())
            for _ in range(STEPS):
                loss = F.cross_entropy(torch.func.functional_call(net, phi, (x,)), y)
                parts = torch.autograd.grad(loss, list(phi.values()), create_graph=True)
                phi = {n: p - RATE * g for (n, p), g in zip(phi.items(), parts, strict=True)}
            outputs = torch.func.functional_call(net, phi, (query_x,))
            losses.append(F.cross_entropy(outputs, query_y))
        return net.gradient(losses)

    return gradient


def torchopt(learner: MAML, episodes: Episodes) -> Gradient:
    """The differentiable SGD of torchopt."""
    import torchopt as library

    net = Conv4(learner)
    optimizer = library.MetaSGD(net, lr=RATE)

    def gradient() -> list[Tensor]:
        losses = []
        start = library.extract_state_dict(net, by="reference")
        of_optimizer = library.extract_state_dict(optimizer, by="reference")
        for x, y, query_x, query_y in episodes:
            for _ in range(STEPS):
                optimizer.step(F.cross_entropy(net(x), y))
            losses.append(F.cross_entropy(net(query_x), query_y))
            library.recover_state_dict(net, start)
            library.recover_state_dict(optimizer, of_optimizer)
        return net.gradient(losses)

    return gradient


def compare(tasks: int, shots: int, channels: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every round, by name.

    Raises:
        AssertionError: when two gradients differ.
    """
    torch.manual_seed(0)
    settings = MAMLSettings(
        inputs=SIDE**2, embedding_units=WAYS, channels=channels, inner_rate=RATE
    )
    learner, episodes = MAML(settings), Episodes(tasks, shots)
    calls = {"lit_lul": ours(learner, episodes), "torch.func loop": loop(learner, episodes)}
    if find_spec("torchopt") is not None:
        calls["torchopt"] = torchopt(learner, episodes)
    expected = torch.cat([g.flatten() for g in calls["lit_lul"]()])
    for name, call in calls.items():
        found = torch.cat([g.flatten() for g in call()])
        error = float((found - expected).norm() / expected.norm())
        assert error < 1e-3, f"{name}: its gradient differs by a share of {error:.1e}"
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.process_time()
            call()
            seconds[name].append(time.process_time() - started)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    made = Table(
        title=f"MAML, {STEPS} steps, {args.tasks} tasks, one CPU thread, torch {torch.__version__}",
        title_justify="left",
    )
    for heading in ("channels", "shots", "", "ms per episode", "episodes/s", "time by ours"):
        made.add_column(heading, justify="left" if heading == "" else "right")
    for channels in args.channels:
        for shots in args.shots:
            seconds = compare(args.tasks, shots, channels, args.rounds)
            for name, times in seconds.items():
                each = median(times) / args.tasks
                ratios = [t / o for t, o in zip(times, seconds["lit_lul"], strict=True)]
                row = (f"{each * 1e3:.1f}", f"{1 / each:.1f}", f"{median(ratios):.2f}")
                made.add_row(str(channels), str(shots), name, *row)
    Console(width=110).print(made)


if __name__ == "__main__":
    main()
