"""A world: the random generator of the rows of one synthetic task.

Factors of a row go through a random map, are mixed into the inputs with a falling spectrum, get
noise, and then the marginals and flaws of inputs.

Shapes: n rows, W classes, N_0 inputs, H features.
"""

import numpy as np
import torch
from torch import Tensor, nn

from lit_lul.data.prior.difficulty import is_useful
from lit_lul.data.prior.factors import Factors
from lit_lul.data.prior.maps import MAPS, matrix
from lit_lul.data.prior.marginals import MARGINALS

REFERENCE_ROWS = 512
"""Rows that fix the scale of the inputs."""
ATTEMPTS = 20
"""Worlds that are drawn until one is useful."""


class World(nn.Module):
    """A random generator of rows of W classes with N_0 inputs in [0, 1].

    Args:
        classes: W.
        inputs: N_0.
        rng: determines the generator.
    """

    mixing: Tensor
    """Weights from features to inputs, (H, N_0)."""
    mean: Tensor
    """Of every mixed feature, (N_0,)."""
    inverse_std: Tensor
    """Of every mixed feature, (N_0,)."""
    group: Tensor
    """Index of every input's marginal, (N_0,)."""
    level: Tensor
    """Threshold of every input's marginal, (N_0,)."""
    scale: Tensor
    """Range of every input, (N_0,)."""
    low: Tensor
    """Value of every input that becomes 0, (N_0,)."""
    inverse_range: Tensor
    """Factor from there to [0, 1], (N_0,)."""
    copied: Tensor
    """The input that every input is a copy of, mostly itself, (N_0,)."""
    constant: Tensor
    """Which inputs are constant, (N_0,) bool."""
    marginals: list[str]
    """Names of the marginals; none if inputs are what receptors see."""

    def __init__(self, classes: int, inputs: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.classes, self.inputs = classes, inputs
        self.factors = Factors(classes, rng)
        self.kind = str(rng.choice(list(MAPS)))
        direct = self.kind == "receptors"
        features = inputs if direct else int(np.exp(rng.uniform(np.log(16), np.log(128))))
        self.map = MAPS[self.kind](self.factors.size, features, rng)
        if not direct:
            falling = np.arange(1, features + 1) ** -rng.uniform(0, 1.5)
            density = 1.0 if rng.random() < 0.5 else rng.uniform(0.02, 0.3)
            mixing = matrix(features, inputs, density, rng)
            scaled = torch.from_numpy(rng.permutation(falling)).float()[:, None] * mixing
            self.register_buffer("mixing", scaled)
        self.direct = direct
        self.noise = float(np.exp(rng.uniform(np.log(0.02), np.log(0.7))))
        self.dropout = float(rng.uniform(0, 0.3)) if rng.random() < 0.25 else 0.0
        self._draw_inputs(rng)
        self._fix_scale(rng)

    def forward(self, members: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows of given classes (n,) with a generator on their device: (n, N_0)."""
        x = self._values(self._features(members, generator), generator)
        x = ((x - self.low) * self.inverse_range).clamp(0, 1)
        return x[:, self.copied].masked_fill(self.constant, 0.5)

    def _draw_inputs(self, rng: np.random.Generator) -> None:
        """Draw marginals, scales, and inputs that are constant or copies of others."""
        inputs = self.inputs
        if self.direct and rng.random() < 0.7:
            self.marginals = []
        else:
            kinds = rng.choice(list(MARGINALS), size=1 if rng.random() < 0.7 else 3)
            self.marginals = [str(kind) for kind in kinds]
        group = rng.integers(max(1, len(self.marginals)), size=inputs)
        self.register_buffer("group", torch.from_numpy(group))
        level = rng.uniform(-0.5, 1.8) + rng.uniform(0, 0.5) * rng.normal(size=inputs)
        self.register_buffer("level", torch.from_numpy(level).float())
        copied, constant = np.arange(inputs), np.zeros(inputs, dtype=bool)
        if rng.random() < 0.25:
            which = rng.random(inputs) < rng.uniform(0, 0.3)
            copied[which] = rng.integers(inputs, size=which.sum())
        if rng.random() < 0.25:
            constant = rng.random(inputs) < rng.uniform(0, 0.3)
        self.register_buffer("copied", torch.from_numpy(copied))
        self.register_buffer("constant", torch.from_numpy(constant))
        self.per_input = bool(rng.random() < 0.4)  # whether every input fills [0, 1]
        uneven = rng.uniform(0, 1.2) if rng.random() < 0.3 else 0.0
        scale = torch.from_numpy(np.exp(uneven * rng.normal(size=inputs))).float()
        self.register_buffer("scale", scale.clamp(max=4))

    def _fix_scale(self, rng: np.random.Generator) -> None:
        """Fix the affine map to [0, 1] by rows of all classes."""
        members = torch.from_numpy(rng.integers(self.classes, size=REFERENCE_ROWS))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        features = self._features(members, generator)
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("inverse_std", 1 / features.std(0).clamp(min=1e-3))
        x = self._values(features, generator)
        low, high = x.quantile(0.005, 0), x.quantile(0.995, 0)
        if not self.per_input:
            low, high = low.min().expand_as(low), high.quantile(0.9).expand_as(high)
        self.register_buffer("low", low.clone())
        self.register_buffer("inverse_range", self.scale / (high - low).clamp(min=1e-3))

    def _features(self, members: Tensor, generator: torch.Generator) -> Tensor:
        """Features mixed into inputs, (n, N_0)."""
        features: Tensor = self.map(self.factors(members, generator))
        return features if self.direct else features @ self.mixing

    def _values(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Standardised features with noise and dropout, in their marginals, (n, N_0)."""
        if not self.marginals:
            x = features
            if self.noise > 0.1:
                x = x + 0.1 * self.noise * _normal_like(x, generator)
        else:
            x = (features - self.mean) * self.inverse_std
            x = x + self.noise * _normal_like(x, generator)
            parts = [MARGINALS[name](x, self.level, generator) for name in self.marginals]
            x = parts[0] if len(parts) == 1 else torch.stack(parts)[self.group, :, self._every].mT
        if self.dropout > 0:
            draws = torch.rand(x.shape, generator=generator, device=x.device)
            x = x.masked_fill(draws < self.dropout, 0.0)
        return x

    @property
    def _every(self) -> Tensor:
        return torch.arange(self.inputs, device=self.group.device)


def draw_world(classes: int, inputs: int, ways: int, rng: np.random.Generator) -> World:
    """A world whose first `ways` classes can be told apart, but not by raw inputs alone.

    Args:
        classes: W, two or more.
        inputs: N_0.
        ways: classes of the labelled examples.
        rng: determines the world.
    """
    for _ in range(ATTEMPTS):
        world = World(classes, inputs, rng)
        if is_useful(world, ways, int(rng.integers(2**62))):
            break
    return world


def _normal_like(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device)
