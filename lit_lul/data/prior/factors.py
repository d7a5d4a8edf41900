"""Latent factors of the rows of one synthetic task: what a row's class says, and nuisance.

Shapes: n rows, W classes, D factors of the class, F nuisance factors.
"""

import numpy as np
import torch
from torch import Tensor, nn

LARGEST_MODES = 4


class Factors(nn.Module):
    """A random mixture of normals, one to four modes per class, and nuisance factors.

    Classes may come in kinds, whose classes share most of their position.

    Args:
        classes: W.
        rng: determines everything random.
    """

    centres: Tensor
    """Positions of every class's modes, (W, modes, D)."""
    spread: Tensor
    """Standard deviations within a mode, (D,)."""
    strength: Tensor
    """Standard deviations of the nuisance factors, (F,)."""

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
        self.register_buffer("centres", torch.from_numpy(centres).float())
        spread = within * np.exp(rng.normal(0, 0.5, of_class))
        self.register_buffer("spread", torch.from_numpy(spread).float())
        strength = np.exp(rng.uniform(np.log(0.2), np.log(2.5))) * np.exp(
            rng.normal(0, 0.5, nuisance)
        )
        self.register_buffer("strength", torch.from_numpy(strength).float())

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
