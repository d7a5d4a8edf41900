"""Sizes of cohorts, minibatches and labelled batches."""

from dataclasses import asdict, dataclass

from lit_lul.errors import InvalidInput


@dataclass(frozen=True)
class Sizes:
    """Sizes of cohorts, minibatches and labelled batches.

    Raises:
        InvalidInput: for a size below one.
    """

    cohorts: int = 8
    """Cohorts in flight on every rank; an outer step takes one truncation of each."""
    tasks: int = 32
    """T, tasks of a cohort; cohorts × tasks × ranks is the meta-batch (256 in H.2)."""
    batch_size: int = 128
    """B, unlabelled examples per task and inner step."""
    labels_per_class: int = 10
    """Examples of each class in each of the two labelled batches."""
    draws: int = 5
    """R, draws of the labelled batches that the objective is averaged over (H.2)."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise InvalidInput(f"{name} {value}: expected one or more")
