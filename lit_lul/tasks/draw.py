"""All that is random about one truncation."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_lul.networks.mlp import MLP
from lit_lul.tasks.augmentation import TaskInputs
from lit_lul.tasks.transforms.prints import Prints


@dataclass
class TruncationDraw:
    """All that is random about one truncation; the images themselves stay where they are."""

    cohort: int
    """Which cohort, counted over all ranks."""
    fresh: bool
    """Whether the cohort starts a new inner problem, with new φ."""
    age: int
    """Inner steps since the problem started."""
    base_model: MLP
    phi_seed: int
    """Seeds the initial φ of a fresh cohort."""
    mask_seed: int
    """Seeds the per-example masks and brightness."""
    source: int
    """Index of the task source whose images these are."""
    family: Tensor
    """Index of every task's family, (T,)."""
    inputs: TaskInputs
    unlabelled_rows: Tensor
    """(U, T, B)."""
    unlabelled_placement: Tensor | None
    """(U, T, B, 7), or None where no image moves."""
    unlabelled_prints: Prints | None
    """The second characters of printed tasks, rows (U, P, B); None where no task is printed."""
    labelled_rows: Tensor
    """Support, then query: (R, T, 2K)."""
    labelled_placement: Tensor | None
    """(R, T, 2K, 7)."""
    labelled_prints: Prints | None
    """Rows (R, P, 2K)."""
    classes: Tensor
    """Class of every labelled example within its task, (2K,)."""
    is_class: Tensor
    """(T, C)."""
    is_target: Tensor
    """(T, C)."""

    def to(self, device: torch.device) -> "TruncationDraw":
        """The same with every tensor on a device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            if isinstance(value, Tensor)
            else value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, (Tensor, Prints))
        }
        inputs = TaskInputs(*(t.to(device, non_blocking=True) for t in self.inputs))
        return replace(self, inputs=inputs, **moved)
