"""Low-rank readouts of the hidden states and their products, lowRR (App. 37-42)."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_lul.learners.metz.networks import init_fan_in
from lit_lul.learners.metz.planes import planes_with, symmetric_part


class LowRankReadouts(nn.Module):
    """All linear readouts of h: of every plane, for lowRR (App. 37-42), and of the bias update.

    Rows of the weight, P for each readout: for h as the layer below, one for each plane with a
    readout `between`, then two for each `lower`; for h as the layer above, one for each `between`,
    two for each `upper`, one for each `semidefinite`; last, one row for the bias update (App. 63).

    Args:
        planes: names of the planes in use.
        hidden_channels: H.
        readout_channels: P.
        bias: whether the readouts have a bias.
    """

    def __init__(
        self, planes: tuple[str, ...], hidden_channels: int, readout_channels: int, bias: bool
    ) -> None:
        super().__init__()
        self.between = [name for name in planes_with("between") if name in planes]
        self.lower = [name for name in planes_with("lower") if name in planes]
        self.upper = [name for name in planes_with("upper") if name in planes]
        self.semidefinite = [name for name in planes_with("semidefinite") if name in planes]
        self.channels = readout_channels
        self.n_below = len(self.between) + 2 * len(self.lower)
        self.n_above = len(self.between) + 2 * len(self.upper) + len(self.semidefinite)
        rows = (self.n_below + self.n_above) * readout_channels + 1
        self.weight = nn.Parameter(torch.empty(rows, hidden_channels))
        init_fan_in(self.weight, hidden_channels)
        self.bias = nn.Parameter(torch.zeros(rows)) if bias else None

    def below(self, h: Tensor) -> Tensor:
        """Readouts of h^{l-1} (T, N_v, B, H) for the weights above it: (readouts, T, N_v, B·P)."""
        return self._split(self._read(h, slice(0, self.n_below * self.channels)))

    def above(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Readouts of h^l (T, N_u, B, H) for the weights below it and for b^l.

        Returns:
            above: (readouts, T, N_u, B·P).
            bias: (T, N_u, B).
        """
        r = self._read(h, slice(self.n_below * self.channels, None))
        readouts, bias = r.split([self.n_above * self.channels, 1], dim=-1)
        return self._split(readouts), bias.squeeze(-1)

    def _read(self, h: Tensor, rows: slice) -> Tensor:
        bias = None if self.bias is None else self.bias[rows]
        return F.linear(h, self.weight[rows], bias)

    def _split(self, r: Tensor) -> Tensor:
        parts: Tensor = r.unflatten(-1, (-1, self.channels))
        return parts.permute(3, 0, 1, 2, 4).flatten(3)

    def products(self, below: Tensor, above: Tensor) -> dict[str, Callable[[], Tensor]]:
        """Functions that compute the low-rank products lowRR of one layer, of planes that have one.

        Args:
            below: readouts of h^{l-1}, (readouts, T, N_v, B·P).
            above: readouts of h^l, (readouts, T, N_u, B·P).

        Returns:
            By plane: (T, N_v, N_u), and for symmetric planes (T, N_v, N_v) or (T, N_u, N_u).
        """
        n, k, m = len(self.between), len(self.lower), len(self.upper)
        between = 1 / below.shape[-1]
        within_v, within_u = (between / math.sqrt(x.shape[2]) for x in (below, above))
        v, u = below.unbind(), above.unbind()
        pairs = zip(v[:n], u[:n], strict=True)
        groups = (
            (self.between, [partial(_product, *pair, between) for pair in pairs]),
            (self.lower, [partial(_symmetric, v[n + i], v[n + k + i], within_v) for i in range(k)]),
            (self.upper, [partial(_symmetric, u[n + i], u[n + m + i], within_u) for i in range(m)]),
            (self.semidefinite, [partial(_product, r, r, within_u) for r in u[n + 2 * m :]]),
        )
        return {
            name: product
            for names, products in groups
            for name, product in zip(names, products, strict=True)
        }


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    return a @ b.mT * scale


def _symmetric(a: Tensor, b: Tensor, scale: float) -> Tensor:
    return symmetric_part(a @ b.mT) * scale
