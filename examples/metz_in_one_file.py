"""Metz et al. 2018, "Meta-learning update rules for unsupervised representation learning", whole.

    python examples/metz_in_one_file.py

The rule of appendix G as printed (the package's `UpdateSettings(**PAPER)`), its objective, a
truncated unroll and an outer loop, on toy tasks and with torch alone. Read `Rule.step` first;
numbers in parentheses are the appendix's equations. It takes less than a minute on one core.

Shapes: T tasks, B examples, N units (N_v below and N_u above a weight), E units of the embedding, C
channels. Hidden states are (T, B, N, C).
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Phi(NamedTuple):
    """An MLP of every task, and the rule's weights for the way down; index l - 1 is layer l."""

    W: list[Tensor]  # (T, N_v, N_u)
    b: list[Tensor]  # (T, N_u)
    V: list[Tensor]  # (T, N_v, N_u)

    def detach(self) -> "Phi":
        """The same numbers, without their history."""
        return Phi(*([tensor.detach() for tensor in part] for part in self))


def new_phi(tasks: int, sizes: list[int]) -> Phi:
    """φ of new tasks, from normals truncated at two standard deviations (7-12)."""
    layers = list(pairwise(sizes))
    return Phi(
        [truncated_normal(0.01, tasks, v, u) for v, u in layers],
        [truncated_normal(0.1, tasks, u) for _, u in layers],
        [truncated_normal(0.01, tasks, v, u) for v, u in layers],
    )


def truncated_normal(std: float, *shape: int) -> Tensor:
    """A normal truncated at two standard deviations."""
    return nn.init.trunc_normal_(torch.empty(shape), std=std, a=-2 * std, b=2 * std)


def forward(phi: Phi, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """x^0..x^L and z^0..z^L, (T, B, N) each, where z^0 is x^0 (13-17)."""
    xs, zs = [x], [x]
    for w, b in zip(phi.W, phi.b, strict=True):
        m = xs[-1] @ w
        variance = m.var(-2, correction=0, keepdim=True)
        normed = (m - m.mean(-2, keepdim=True)) / torch.sqrt(variance + 1e-6)
        zs.append(normed + b.unsqueeze(-2))  # (14)
        xs.append(zs[-1].relu())  # (15)
    return xs, zs


class Conv(nn.Module):
    """A convolution along the batch (axis 1) or the units (axis 2), zero-padded."""

    def __init__(self, axis: int, inputs: int, outputs: int, kernel: int = 3, bias: bool = False):
        super().__init__()
        self.axis, self.kernel = axis, kernel
        std = 1 / math.sqrt(kernel * inputs)
        self.weight = nn.Parameter(truncated_normal(std, outputs, inputs, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, N, inputs) to (T, B, N, outputs)."""
        moved = x.movedim(self.axis, -1)  # (T, other axis, inputs, axis)
        y = F.conv1d(moved.flatten(0, 1), self.weight, self.bias, padding=self.kernel // 2)
        return y.view(*moved.shape[:2], *y.shape[1:]).movedim(-1, self.axis)


class Norm(nn.Module):
    """Every channel normalised over batch and units, plus an offset (68, 93)."""

    def __init__(self, channels: int):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, N, C) to (T, B, N, C)."""
        centred = x - x.mean((1, 2), keepdim=True)
        variance = centred.square().mean((1, 2), keepdim=True)
        return centred / torch.sqrt(variance + 1e-3) + self.offset


def conv_norm_relu(axis: int, inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
    """The convolution has no bias, which the norm would remove."""
    return nn.Sequential(Conv(axis, inputs, outputs, kernel), Norm(outputs), nn.ReLU())


BETWEEN = ("zero_order", "rbf", "first_order")  # planes that read both layers' hidden states
WITHIN = ("lin_lower_sym", "sqr_lower_sym", "lin_upper_sym", "sqr_upper_sym")  # or only one's


class Rule(nn.Module):
    """The learned update rule; its parameters are θ.

    Args:
        units: E, units of the networks' embedding.
        error: D, channels of the error signal.
        hidden: H, channels of the hidden states.
        top: S, channels of topD.
        readout: P, channels of a low-rank readout.
        rate: η, the share of φ that an inner step replaces.
    """

    def __init__(self, units: int, error: int, hidden: int, top: int, readout: int, rate: float):
        super().__init__()
        self.rate = rate
        self.gather = conv_norm_relu(1, 1, top, kernel=5)
        self.mix_units = nn.Sequential(*(conv_norm_relu(1, units, units) for _ in range(2)))
        self.refine = nn.Sequential(*(conv_norm_relu(1, top, top) for _ in range(2)))
        self.top_readout = Conv(1, top, error, bias=True)
        self.input_norm = Norm(4 + error)
        self.stack = nn.Sequential(
            conv_norm_relu(1, 8 + 1 + 4 + error, hidden),
            *(conv_norm_relu(axis, hidden, hidden) for axis in (2, 1, 2)),
        )
        std = 1 / math.sqrt(hidden)
        self.error_readout = nn.Linear(hidden, error)
        readouts = {name: truncated_normal(std, 2, hidden, readout) for name in BETWEEN + WITHIN}
        self.readouts = nn.ParameterDict(readouts)  # for the first and the second hidden state
        self.bias_readout = nn.Linear(hidden, 1, bias=False)
        self.merge = nn.Parameter(torch.full((10,), 0.1))

    def step(self, phi: Phi, x: Tensor) -> Phi:
        """φ after an inner step on unlabelled x (T, B, N_0) in [0, 1] (1-6)."""
        xs, zs = forward(phi, x)  # (3)
        h = self.propagate(phi, xs, zs)
        after = Phi([], [], [])
        for layer in range(1, len(xs)):
            local = (xs[layer - 1], xs[layer], h[layer - 1], h[layer])
            w, b, v = phi.W[layer - 1], phi.b[layer - 1], phi.V[layer - 1]
            after.W.append(self.move(w, self.weight_update(w, *local)))  # (5)
            after.b.append(self.move(b, self.bias_update(h[layer])))  # (6)
            after.V.append(self.move(v, self.weight_update(v, *local)))
        return after

    def move(self, before: Tensor, delta: Tensor) -> Tensor:
        """P (1 - η) - η Δp (5-6)."""
        return before * (1 - self.rate) - self.rate * delta

    def propagate(self, phi: Phi, xs: list[Tensor], zs: list[Tensor]) -> list[Tensor]:
        """h^0..h^L, (T, B, N_l, H): an error signal goes down the network (29-36)."""
        d, h = self.top_d(xs[-1]), []  # (31)
        for layer in range(len(phi.W), -1, -1):
            h.append(self.compute_h(phi, layer, d, xs[layer], zs[layer]))  # (36)
            if layer > 0:
                r = self.error_readout(h[-1])
                delta = d * torch.sigmoid(zs[layer]).unsqueeze(-1) + r  # (33)
                d = torch.einsum("tbuc,tvu->tbvc", delta, phi.V[layer - 1])  # (34)
                d = d * torch.rsqrt(d.square().mean((1, 2, 3), keepdim=True))  # (35)
        return h[::-1]

    def top_d(self, x: Tensor) -> Tensor:
        """d^L (T, B, E, D) of x^L (T, B, E) (65-79)."""
        m = self.gather(x.unsqueeze(-1))  # (66-68)
        m = self.mix_units(m.transpose(2, 3))  # (70-73): the units are the channels
        m = self.refine(m.transpose(2, 3))  # (74-77)
        d: Tensor = self.top_readout(m)  # (78)
        return d

    def compute_h(self, phi: Phi, layer: int, d: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """h^l (T, B, N_l, H) (80-104)."""
        units = torch.arange(x.shape[-1], dtype=x.dtype) * 2 * math.pi / x.shape[-1]
        m = torch.stack([x, z, *(p.expand_as(x) for p in (units.sin(), units.cos()))], -1)  # (83)
        m = self.input_norm(torch.cat([m, d], -1))  # (84, 93)
        statistics = weight_statistics(phi.W, layer)
        b = phi.b[layer - 1] if layer > 0 else torch.zeros_like(x[:, 0])
        per_unit = torch.cat([statistics, b.unsqueeze(-1)], -1).unsqueeze(1)
        m = torch.cat([per_unit.expand(*x.shape, -1), m], -1)  # (95)
        h: Tensor = self.stack(m)  # (96-103)
        return h

    def low_rank(self, name: str, h_a: Tensor, h_b: Tensor) -> Tensor:
        """LowRR of two hidden states (T, B, N, H), (T, N_a, N_b) (37-42)."""
        first, second = self.readouts[name]
        products: Tensor = torch.einsum("tbip,tbjp->tij", h_a @ first, h_b @ second)
        return products / h_a.shape[1] / len(first.T)

    def symmetric(self, name: str, h: Tensor) -> Tensor:
        """(S + Sᵀ)/√2 without its diagonal, where S is lowRR of one state with itself (50-57)."""
        s = self.low_rank(name, h, h) / math.sqrt(h.shape[2])
        return (s + s.mT) / math.sqrt(2) * (1 - torch.eye(h.shape[2], dtype=h.dtype))

    def planes(self, w: Tensor, v: Tensor, u: Tensor, h_v: Tensor, h_u: Tensor) -> list[Tensor]:
        """The ten terms of a weight update, of scaled weights w (44-57)."""
        v, u = v - v.mean(1, keepdim=True), u - u.mean(1, keepdim=True)
        soft_square = torch.sqrt(1 + w.square()) - 1
        return [
            w,  # (44)
            w.square() * w.sign(),  # (45)
            self.low_rank("zero_order", h_v, h_u),  # (46)
            torch.exp(-w.square()) * self.low_rank("rbf", h_v, h_u),  # (47)
            w * self.low_rank("first_order", h_v, h_u),  # (48)
            v.mT @ u / v.shape[1],  # (49)
            self.symmetric("lin_lower_sym", h_v) @ w,  # (51)
            self.symmetric("sqr_lower_sym", h_v) @ soft_square,  # (53)
            w @ self.symmetric("lin_upper_sym", h_u),  # (55)
            soft_square @ self.symmetric("sqr_upper_sym", h_u),  # (57)
        ]

    def weight_update(self, w: Tensor, v: Tensor, u: Tensor, h_v: Tensor, h_u: Tensor) -> Tensor:
        """ΔW (T, N_v, N_u) of a weight between activations v and u (T, B, N) (43-62)."""
        w = w / torch.sqrt(w.square().mean(1, keepdim=True) + 1e-6)  # (43)
        planes = [soft_norm(plane) for plane in self.planes(w, v, u, h_v, h_u)]  # (59)
        merged = torch.stack([m * p for m, p in zip(self.merge, planes, strict=True)]).mean(0)
        shrinking = (merged * w).mean((1, 2), keepdim=True).relu()
        return soft_norm(merged - w * shrinking)  # (60, 61, 62)

    def bias_update(self, h: Tensor) -> Tensor:
        """Δb (T, N) (63-64)."""
        base: Tensor = self.bias_readout(h).sum((1, 3))
        return base - base.mean(1, keepdim=True).relu()


def weight_statistics(weights: list[Tensor], layer: int) -> Tensor:
    """Four statistics of the weights into each unit and four of those out, (T, N, 8) (85-92)."""
    into = [(weights[layer - 1], 1)] if layer > 0 else []
    out = [(weights[layer], 2)] if layer < len(weights) else []
    sides = []
    for w, axis in into + out:
        variance = w.var(axis, correction=0)
        l2 = torch.sqrt(w.square().mean(axis) + 1e-6)
        sides += [torch.stack([w.abs().mean(axis), l2, w.mean(axis), (variance + 1e-8).sqrt()], -1)]
    eight = torch.cat([sides[0], sides[-1]], -1)  # the first and last layer have one side, twice
    return eight * torch.rsqrt(eight.square().mean((1, 2), keepdim=True) + 1e-6)


def soft_norm(update: Tensor) -> Tensor:
    """Bound the mean square of (T, N_v, N_u) by 1 (59, 62)."""
    return update * torch.rsqrt(1 + update.square().mean((1, 2), keepdim=True))


def objective(phi: Phi, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> list[Tensor]:
    """Loss and accuracy (T,) of ridge regression from embeddings to one-hot labels (18-28).

    It is fit to x (T, K, N_0) and y (T, K, classes), and tested on the query's.
    """

    def scaled(y: Tensor) -> Tensor:
        centred = y - y.mean(1, keepdim=True)  # (21)
        return centred * torch.rsqrt(centred.square().sum(2).mean(1))[:, None, None]  # (22)

    support, query = (F.pad(forward(phi, each)[0][-1], (0, 1), value=1.0) for each in (x, query_x))
    ridge = 0.1 * torch.eye(support.shape[2], dtype=x.dtype)
    coefficients = torch.linalg.solve(support.mT @ support + ridge, support.mT @ scaled(y))  # (25)
    p = query @ coefficients  # (26)
    loss = (p / p.norm(dim=2, keepdim=True) - scaled(query_y)).square().sum(2).mean(1)  # (27-28)
    return [loss, (p.argmax(2) == query_y.argmax(2)).to(x.dtype).mean(1)]


class Tasks:
    """T toy tasks: a class is a random pattern of bits, some of which are flipped in an example."""

    def __init__(self, tasks: int, classes: int, inputs: int):
        self.patterns = torch.rand(tasks, classes, inputs).round()

    def draw(self, examples: int, flipped: float = 0.2) -> tuple[Tensor, Tensor]:
        """Examples (T, B, N_0) and one-hot labels (T, B, classes), of every class equally many."""
        tasks, classes, _ = self.patterns.shape
        y = torch.eye(classes).repeat(examples // classes, 1).expand(tasks, -1, -1)
        clean = y @ self.patterns
        return (clean - (torch.rand_like(clean) < flipped).float()).abs(), y


def main(outer_steps: int = 160, unroll: int = 4, problem: int = 16, tasks: int = 4) -> None:
    """Meta-train: `unroll` inner steps for each gradient, new tasks after `problem` inner steps."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rule = Rule(units=4, error=8, hidden=12, top=12, readout=4, rate=0.05)
    optimizer = torch.optim.Adam(rule.parameters(), lr=3e-3)
    sums = torch.zeros(2)
    for outer_step in range(outer_steps):
        if outer_step % (problem // unroll) == 0:
            mixture, phi = Tasks(tasks, classes=4, inputs=24), new_phi(tasks, [24, 16, 4])
        phi = phi.detach()  # truncation: earlier inner steps count as given
        for _ in range(unroll):
            phi = rule.step(phi, mixture.draw(32)[0])  # no labels
        loss, accuracy = (s.mean() for s in objective(phi, *mixture.draw(40), *mixture.draw(40)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(rule.parameters(), 1.0)
        optimizer.step()
        sums += torch.stack([loss.detach(), accuracy])
        if (outer_step + 1) % 20 == 0:
            loss, accuracy = sums / 20
            print(f"outer step {outer_step + 1}: loss {loss:.3f}, accuracy {accuracy:.1%}")
            sums.zero_()


if __name__ == "__main__":
    main()
