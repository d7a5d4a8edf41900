"""Random quadratic functions, the first problem of Andrychowicz et al. 2016 (section 3.1).

Shapes: U inner steps, T tasks, N dimensions.
"""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from lit_lul.constraints import Length, PositiveInt
from lit_lul.objectives.objective import Labelled
from lit_lul.tasks.schedules import Weight
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.source import Batches, Family, Seeds, Source, TaskSource
from lit_lul.trees import Tree


class QuadraticFunctions(TaskSource):
    """Functions ‖Wφ - y‖² / N of a linear network's weights φ; W and y are standard normal.

    The rows of W are examples and y their targets: every minibatch, and support and query, are all
    of them, so every inner step of a problem has the same function.

    Args:
        name: prefix of the families' names.
        dimensions: numbers N of dimensions, equally frequent; each is a family.
        weight: of all families together.
    """

    def __init__(self, name: str, dimensions: list[int], weight: Weight) -> None:
        share = weight / len(dimensions)
        self.families = [Family(f"{name}-{n}", 0, share, n) for n in dimensions]

    def plan(self, family: Family, steps: int, sizes: ProblemSizes, seeds: Seeds) -> Tree:
        """Draw W and y; of the sizes only the number of tasks has a meaning."""
        rng, n = np.random.default_rng(seeds.tasks), family.inputs
        return {
            "steps": steps,
            "w": torch.from_numpy(rng.standard_normal((sizes.tasks, n, n), np.float32)),
            "y": torch.from_numpy(rng.standard_normal((sizes.tasks, n, 1), np.float32)),
        }

    def realise(self, plan: Tree, device: torch.device) -> tuple[Batches, Labelled]:
        """The same function for every inner step and for the objective."""
        w, y = plan["w"], plan["y"]

        def repeat(tensor: Tensor, steps: slice) -> Tensor:
            return tensor.expand(steps.stop - steps.start, *tensor.shape)

        column = torch.ones(len(y), 1, dtype=torch.bool, device=device)
        labelled = Labelled(w[None], y[None], w[None], y[None], ~column, column)
        batches = Batches(plan["steps"], lambda s: repeat(w, s), lambda s: repeat(y, s))
        return batches, labelled


@dataclass(frozen=True)
class QuadraticTasks(Source):
    """A source of random quadratic functions, for learners that train with labels."""

    dimensions: Annotated[list[PositiveInt], Length(1)] = field(default_factory=lambda: [10])
    """Numbers of dimensions, equally frequent."""
    weight: Weight = 1.0
    """Share of these tasks, relative to the weights of the other sources; it may move."""

    def load(self, name: str, data_root: str | None) -> tuple[QuadraticFunctions, TaskSource]:
        """The functions of training and of validation: other draws."""
        functions = QuadraticFunctions(name, self.dimensions, self.weight)
        return functions, functions
