"""Sizes of cohorts, minibatches and labelled batches."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np

from lit_lul.constraints import Checked, NonNegative, Ordered, PositiveInt

Range: TypeAlias = PositiveInt | Annotated[tuple[PositiveInt, PositiveInt], Ordered()]
"""A number, or a lower and an upper bound, both included, of numbers drawn log-uniformly."""


class ProblemSizes(NamedTuple):
    """The sizes of one inner problem of a cohort."""

    tasks: int
    """T."""
    batch_size: int
    """B."""
    labels_per_class: int
    """Support examples of each class."""
    draws: int
    """R."""
    classes: float = 1.0
    """Classes among the unlabelled examples, as a multiple of the labelled classes, 1 or more."""
    class_skew: float = 0.0
    """Standard deviation of the logarithm of the classes' frequencies; 0 if all are equal."""
    queries_per_class: int | None = None
    """Query examples of each class; None for as many as support examples."""

    @property
    def queries(self) -> int:
        """Query examples of each class."""
        return self.queries_per_class or self.labels_per_class


@dataclass(frozen=True)
class Sizes(Checked):
    """Sizes of cohorts, minibatches and labelled batches."""

    cohorts: PositiveInt = 8
    """Cohorts in flight on every rank; a round takes one truncation of each."""
    tasks: PositiveInt = 32
    """T, tasks of a cohort; rounds × cohorts × tasks × ranks is the meta-batch (256 in H.2)."""
    batch_size: Range = 128
    """B, unlabelled examples per task and inner step: a number or bounds."""
    labels_per_class: Range = 10
    """Support examples of each class, and query examples if `queries_per_class` is not set: a
    number or bounds."""
    queries_per_class: PositiveInt | None = None
    """Query examples of each class; null for as many as support examples."""
    draws: PositiveInt = 5
    """R, draws of the labelled batches that the objective is averaged over (H.2)."""
    other_classes: NonNegative = 0.0
    """Largest number of classes that only unlabelled examples have, as a multiple of a task's
    classes; the number of all classes is log-uniform. A source with too few classes gives what it
    has."""
    class_skew: NonNegative = 0.0
    """Largest standard deviation of the logarithm of the classes' frequencies among unlabelled
    examples, which is uniform; 0 if all classes are equally frequent."""

    def sample(self, rng: np.random.Generator) -> ProblemSizes:
        """Draw the sizes of one inner problem."""
        batch_size, labels, classes, skew = rng.random(4)
        return ProblemSizes(
            self.tasks,
            log_uniform(self.batch_size, batch_size),
            log_uniform(self.labels_per_class, labels),
            self.draws,
            (1 + self.other_classes) ** float(classes),
            self.class_skew * float(skew),
            self.queries_per_class,
        )


def bounds(value: Range) -> tuple[int, int]:
    """Lower and upper bound."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def log_uniform(value: Range, quantile: float) -> int:
    """The whole number at a quantile of the log-uniform distribution within bounds."""
    low, high = bounds(value)
    return min(high, int(low * ((high + 1) / low) ** quantile))
