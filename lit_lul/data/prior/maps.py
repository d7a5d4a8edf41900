"""Random maps from latent factors to features, each a kind of generator.

Shapes: n rows, D factors, H features. Features have about mean 0 and variance 1 for factors of
variance 1; `World` standardises what comes out.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sine": torch.sin,
    "abs": torch.abs,
    "identity": nn.Identity(),
}


def buffer(values: np.ndarray | Tensor) -> nn.Buffer:
    """Drawn values as a float32 buffer of a module."""
    return nn.Buffer(torch.as_tensor(values).float())


def matrix(rows: int, columns: int, density: float, rng: np.random.Generator) -> Tensor:
    """A random matrix with the given share of non-zero entries and columns of norm about 1."""
    kept = rng.random((rows, columns)) < density
    kept[rng.integers(rows, size=columns), np.arange(columns)] = True
    entries = rng.normal(size=(rows, columns)) * kept
    return torch.from_numpy(entries / np.sqrt(kept.sum(0))).float()


class Layers(nn.Module):
    """One to three random layers of one nonlinearity."""

    def __init__(self, factors: int, features: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[str(rng.choice(list(ACTIVATIONS)))]
        gain = rng.uniform(0.7, 2.0)
        sizes = [factors, *[features] * int(rng.integers(1, 3, endpoint=True))]
        for i, (below, above) in enumerate(pairwise(sizes)):
            density = 1.0 if rng.random() < 0.5 else rng.uniform(0.1, 0.6)
            setattr(self, f"weight{i}", buffer(gain * matrix(below, above, density, rng)))
            setattr(self, f"bias{i}", buffer(rng.normal(size=above)))
        self.layers = len(sizes) - 1

    def forward(self, z: Tensor) -> Tensor:
        """Features (n, H) of factors (n, D)."""
        for i in range(self.layers):
            z = z @ self.get_buffer(f"weight{i}") + self.get_buffer(f"bias{i}")
            z = self.activation(z)
        return z


class Products(nn.Module):
    """Products of two random combinations of factors."""

    def __init__(self, factors: int, features: int, rng: np.random.Generator) -> None:
        super().__init__()
        density = rng.uniform(0.1, 1.0)
        self.left = buffer(matrix(factors, features, density, rng))
        self.left_bias = buffer(rng.normal(size=features))
        self.right = buffer(matrix(factors, features, density, rng))
        self.right_bias = buffer(rng.normal(size=features))

    def forward(self, z: Tensor) -> Tensor:
        """Features (n, H) of factors (n, D)."""
        return (z @ self.left + self.left_bias) * (z @ self.right + self.right_bias)


class Codes(nn.Module):
    """Sparse codes: combinations of factors above a threshold, as in a sparse dictionary."""

    def __init__(self, factors: int, features: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.weight = buffer(matrix(factors, features, rng.uniform(0.2, 1.0), rng))
        self.threshold = rng.uniform(0.3, 1.5)

    def forward(self, z: Tensor) -> Tensor:
        """Features (n, H) of factors (n, D)."""
        return torch.relu(z @ self.weight - self.threshold)


class Trees(nn.Module):
    """Random trees: every feature is constant on boxes of one to four thresholded factors."""

    def __init__(self, factors: int, features: int, rng: np.random.Generator) -> None:
        super().__init__()
        depth = int(rng.integers(1, 4, endpoint=True))
        self.split = nn.Buffer(torch.from_numpy(rng.integers(factors, size=(features, depth))))
        self.threshold = buffer(rng.normal(size=(features, depth)))
        self.leaves = buffer(rng.normal(size=(features, 2**depth)))
        self.powers = nn.Buffer(2 ** torch.arange(depth))

    def forward(self, z: Tensor) -> Tensor:
        """Features (n, H) of factors (n, D)."""
        leaf = ((z[:, self.split] > self.threshold) * self.powers).sum(-1)
        return self.leaves.expand(len(z), -1, -1).gather(2, leaf[..., None])[..., 0]


class Receptors(nn.Module):
    """Receptors in a space of one to three dimensions that see sources move with the factors.

    Its features are the inputs themselves: a few sources, each with its width, are near a
    receptor or not.
    """

    def __init__(self, factors: int, features: int, rng: np.random.Generator) -> None:
        super().__init__()
        dims, sources = int(rng.integers(1, 3, endpoint=True)), int(rng.integers(4, 14))
        self.receptors = buffer(rng.random((features, dims)))
        self.place = buffer(rng.uniform(0.1, 0.9, (sources, dims)))
        moves = rng.normal(size=(factors, sources, dims)) * (
            rng.random((factors, sources, 1)) < rng.uniform(0.2, 1.0)
        )
        moves *= rng.uniform(0.08, 0.3) / np.sqrt(factors) * 2
        self.moves = buffer(moves)
        crowding = features ** (-1 / dims)
        width = rng.uniform(0.7, 2.5, sources) * max(crowding, 0.04)
        self.inverse_width = buffer(1 / width)

    def forward(self, z: Tensor) -> Tensor:
        """Features (n, H) of factors (n, D)."""
        place = self.place + (z @ self.moves.flatten(1)).view(len(z), *self.place.shape)
        seen = z.new_zeros(len(z), len(self.receptors))
        for source, inverse in enumerate(self.inverse_width):
            distance = torch.cdist(place[:, source], self.receptors) * inverse
            seen = torch.maximum(seen, torch.exp(-0.5 * distance.square()))
        return seen


MAPS: dict[str, type[nn.Module]] = {
    "layers": Layers,
    "products": Products,
    "codes": Codes,
    "trees": Trees,
    "receptors": Receptors,
}
"""Kinds of maps by name."""
