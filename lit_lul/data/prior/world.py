"""A world: the random generator of the rows of one synthetic task.

Factors of a row go through a random map, are mixed into the inputs with a falling spectrum, get
noise, and then the marginals and flaws of inputs.

Shapes: n rows, W classes, N_0 inputs, H features.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lit_lul.data.prior.maps import MAPS, buffer, matrix

LARGEST_MODES = 4


class Factors(nn.Module):
    """A random mixture of normals, one to four modes per class, and nuisance factors.

    Classes may come in kinds, whose classes share most of their position.

    Args:
        classes: W.
        rng: determines everything random.
    """

    def __init__(self, classes: int, rng: np.random.Generator) -> None:
        super().__init__()
        of_class = int(np.exp(rng.uniform(np.log(2), np.log(24))))  # D
        nuisance = int(np.exp(rng.uniform(0, np.log(16))))  # F
        modes = int(rng.integers(1, LARGEST_MODES, endpoint=True))
        within, between = rng.uniform(0.1, 0.7), rng.uniform(0.3, 1.5)
        kinds = int(rng.integers(1, max(2, classes // 3), endpoint=True))
        kind = rng.normal(size=(kinds, of_class))[rng.integers(kinds, size=classes)]
        shared = rng.choice([0.0, 0.5, 0.8], p=[0.5, 0.25, 0.25])
        centres = np.sqrt(shared) * kind + np.sqrt(1 - shared) * rng.normal(
            size=(classes, of_class)
        )
        centres = centres[:, None] + between * rng.normal(size=(classes, modes, of_class))
        self.size = of_class + nuisance
        self.discrete = bool(rng.random() < 0.2)
        self.centres = buffer(centres)  # positions of every class's modes, (W, modes, D)
        # Standard deviations within a mode (D,), and of the nuisance factors (F,).
        self.spread = buffer(within * np.exp(rng.normal(0, 0.5, of_class)))
        strength = np.exp(rng.uniform(np.log(0.2), np.log(2.5))) * np.exp(
            rng.normal(0, 0.5, nuisance)
        )
        self.strength = buffer(strength)

    def forward(self, members: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the factors of rows of given classes (n,): (n, D + F)."""
        n, modes = len(members), self.centres.shape[1]
        mode = torch.randint(modes, (n,), generator=generator, device=members.device)
        noise = torch.randn(n, self.size, generator=generator, device=members.device)
        of_class, nuisance = noise.split([len(self.spread), len(self.strength)], dim=1)
        if self.discrete:
            nuisance = nuisance.sign()
        place = self.centres[members, mode] + of_class * self.spread
        return torch.cat([place, nuisance * self.strength], dim=1)


MARGINALS: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    # Around a mean, cut off on both sides, like grey pixels.
    "grey": lambda x, level, generator: (0.5 + 0.25 * x).clamp(0, 1),
    # Zero up to a threshold, like thin strokes or word counts.
    "sparse": lambda x, level, generator: (x - level).clamp(0, 2) / 2,
    "binary": lambda x, level, generator: (x > level).to(x.dtype),
    # Poisson counts with a log-linear rate.
    "counts": lambda x, level, generator: torch.poisson(
        (x - level).clamp(max=3).exp(), generator=generator
    ),
    # Heavy tails on both sides.
    "heavy": lambda x, level, generator: torch.sinh(1.2 * x.clamp(-6, 6)),
    # Saturation at both ends.
    "bounded": lambda x, level, generator: torch.sigmoid(2 * (x - 0.5 * level)),
    "plain": lambda x, level, generator: x,
}
"""Marginals by name: functions of values (n, N_0), a level per input (N_0,) and a generator."""


LABELS = 10
"""Labelled rows per class for the few-shot check."""
MANY = 40
"""Labelled rows per class that tell whether a task can be learned at all."""
TESTS = 10
"""Test rows per class."""
SOLVED, HOPELESS = 0.97, 0.12
"""Few-shot accuracy of raw inputs above which a task is solved; accuracy from many labels, as a
share of the way from chance to 1, below which it is hopeless."""


def is_useful(world: Callable[[Tensor, torch.Generator], Tensor], ways: int, seed: int) -> bool:
    """Whether the first `ways` classes of a world make a task that features can improve.

    Args:
        world: draws rows (n, N_0) of given classes (n,).
        ways: classes of the labelled examples.
        seed: determines the rows that it is judged by.
    """
    generator = torch.Generator().manual_seed(seed)
    few, many, test = (
        torch.arange(ways).repeat_interleave(count) for count in (LABELS, MANY, TESTS)
    )
    x_few, x_many, x_test = (world(members, generator) for members in (few, many, test))
    if ridge_accuracy(x_few, few, x_test, test) > SOLVED:
        return False
    chance = 1 / ways
    best = max(
        ridge_accuracy(x_many, many, x_test, test), nearest_accuracy(x_many, many, x_test, test)
    )
    return best > chance + HOPELESS * (1 - chance)


def ridge_accuracy(x: Tensor, labels: Tensor, x_test: Tensor, labels_test: Tensor) -> float:
    """Accuracy of a linear classifier with a small penalty on centred rows."""
    mean = x.mean(0)
    scale = (x - mean).square().sum(1).mean().sqrt().clamp(min=1e-6)
    x, x_test = (x - mean) / scale, (x_test - mean) / scale
    y = torch.nn.functional.one_hot(labels).to(x.dtype)
    kernel = x @ x.T + 0.01 * torch.eye(len(x))
    guess = x_test @ (x.T @ torch.linalg.solve(kernel, y - y.mean(0)))
    return float((guess.argmax(1) == labels_test).float().mean())


def nearest_accuracy(x: Tensor, labels: Tensor, x_test: Tensor, labels_test: Tensor) -> float:
    """Accuracy of the nearest labelled row."""
    return float((labels[torch.cdist(x_test, x).argmin(1)] == labels_test).float().mean())


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
            scale = torch.from_numpy(rng.permutation(falling)).float()[:, None]
            self.mixing = nn.Buffer(scale * mixing)  # from features to inputs, (H, N_0)
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
        self.marginals: list[str] = []  # none where inputs are what receptors see
        if not (self.direct and rng.random() < 0.7):
            self.marginals = list(rng.choice(list(MARGINALS), size=1 if rng.random() < 0.7 else 3))
        group = rng.integers(max(1, len(self.marginals)), size=inputs)
        self.group = nn.Buffer(torch.from_numpy(group))  # index of every input's marginal
        level = rng.uniform(-0.5, 1.8) + rng.uniform(0, 0.5) * rng.normal(size=inputs)
        self.level = buffer(level)  # threshold of every input's marginal
        copied, constant = np.arange(inputs), np.zeros(inputs, dtype=bool)
        if rng.random() < 0.25:
            which = rng.random(inputs) < rng.uniform(0, 0.3)
            copied[which] = rng.integers(inputs, size=which.sum())
        if rng.random() < 0.25:
            constant = rng.random(inputs) < rng.uniform(0, 0.3)
        self.copied = nn.Buffer(torch.from_numpy(copied))  # the input that each is a copy of
        self.constant = nn.Buffer(torch.from_numpy(constant))  # mask of the constant inputs
        self.per_input = bool(rng.random() < 0.4)  # whether every input fills [0, 1]
        uneven = rng.uniform(0, 1.2) if rng.random() < 0.3 else 0.0
        scale = buffer(np.exp(uneven * rng.normal(size=inputs)))
        self.scale = nn.Buffer(scale.clamp(max=4))  # range of every input

    def _fix_scale(self, rng: np.random.Generator) -> None:
        """Fix the affine map to [0, 1] by rows of all classes."""
        members = torch.from_numpy(rng.integers(self.classes, size=REFERENCE_ROWS))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        features = self._features(members, generator)
        self.mean = nn.Buffer(features.mean(0))
        self.inverse_std = nn.Buffer(1 / features.std(0).clamp(min=1e-3))
        x = self._values(features, generator)
        low, high = x.quantile(0.005, 0), x.quantile(0.995, 0)
        if not self.per_input:
            low, high = low.min().expand_as(low), high.quantile(0.9).expand_as(high)
        self.low = nn.Buffer(low.clone())
        self.inverse_range = nn.Buffer(self.scale / (high - low).clamp(min=1e-3))

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
            every = torch.arange(self.inputs, device=x.device)
            x = torch.stack(parts)[self.group, :, every].mT
        if self.dropout > 0:
            draws = torch.rand(x.shape, generator=generator, device=x.device)
            x = x.masked_fill(draws < self.dropout, 0.0)
        return x


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
