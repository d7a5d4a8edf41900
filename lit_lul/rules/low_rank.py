"""Low-rank readouts of the hidden states and their products, lowRR (App. 37-42)."""

import math

import torch
from torch import Tensor, nn

from lit_lul.rules.networks import init_fan_in
from lit_lul.rules.planes import BETWEEN, LOWER, SEMIDEFINITE, UPPER, symmetric_part


class LowRankReadouts(nn.Module):
    """All linear readouts of h, as one product: those of every plane, and the bias update.

    Rows of the weight, P for each readout: for h as the layer below, one for each plane of
    `BETWEEN`, then two for each of `LOWER`; for h as the layer above, one for each of `BETWEEN`,
    two for each of `UPPER`, one for each of `SEMIDEFINITE`; last, one row for the bias update
    (App. 63).
    """

    def __init__(
        self, planes: tuple[str, ...], hidden_channels: int, readout_channels: int, bias: bool
    ) -> None:
        super().__init__()
        self.between = [name for name in BETWEEN if name in planes]
        self.lower = [name for name in LOWER if name in planes]
        self.upper = [name for name in UPPER if name in planes]
        self.semidefinite = [name for name in SEMIDEFINITE if name in planes]
        self.channels = readout_channels
        self.n_below = len(self.between) + 2 * len(self.lower)
        self.n_above = len(self.between) + 2 * len(self.upper) + len(self.semidefinite)
        rows = (self.n_below + self.n_above) * readout_channels + 1
        self.weight = nn.Parameter(torch.empty(rows, hidden_channels))
        init_fan_in(self.weight, hidden_channels)
        self.bias = nn.Parameter(torch.zeros(rows)) if bias else None

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read out h^l (T, N, B, H).

        Returns:
            below: (T, readouts, N, B·P), for the weights above layer l.
            above: (T, readouts, N, B·P), for the weights below layer l.
            bias: (T, N, B), for b^l.
        """
        tasks, units, examples, _ = h.shape
        r = nn.functional.linear(h, self.weight, self.bias)
        split = self.n_below * self.channels
        sides = (r[..., :split], r[..., split:-1])
        below, above = (
            side.unflatten(-1, (-1, self.channels))
            .permute(0, 3, 1, 2, 4)
            .reshape(tasks, -1, units, examples * self.channels)
            for side in sides
        )
        return below, above, r[..., -1]

    def products(self, below: Tensor, above: Tensor) -> dict[str, Tensor]:
        """LowRR of every plane that has one, for the weights between two layers.

        Args:
            below: readouts of h^{l-1}, (T, readouts, N_v, B·P).
            above: readouts of h^l, (T, readouts, N_u, B·P).

        Returns:
            By plane: (T, N_v, N_u), and for symmetric planes (T, N_v, N_v) or (T, N_u, N_u).
        """
        n, k, m = len(self.between), len(self.lower), len(self.upper)
        scale = 1 / below.shape[-1]
        v, lower_a, lower_b = below.split([n, k, k], dim=1)
        u, upper_a, upper_b, psd = above.split([n, m, m, len(self.semidefinite)], dim=1)
        between = v @ u.mT * scale
        lower = symmetric_part(lower_a @ lower_b.mT) * (scale / math.sqrt(below.shape[2]))
        upper = symmetric_part(upper_a @ upper_b.mT) * (scale / math.sqrt(above.shape[2]))
        semidefinite = psd @ psd.mT * (scale / math.sqrt(above.shape[2]))
        groups = (
            (self.between, between),
            (self.lower, lower),
            (self.upper, upper),
            (self.semidefinite, semidefinite),
        )
        return {name: product[:, i] for names, product in groups for i, name in enumerate(names)}
