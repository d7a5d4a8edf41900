"""Tables of held-out evaluations, for loggers that take them."""

from collections.abc import Sequence
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor


def show_table(
    trainer: Trainer, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Pass a table to loggers that take tables.

    Args:
        trainer: the trainer with the loggers.
        name: name of the table in the loggers.
        columns: names of the columns.
        rows: cells, of one type per column.
    """
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            data = [list(row) for row in rows]
            logger.log_table(name, list(columns), data, step=trainer.global_step)


def embedding_rows(embedding: Tensor, labels: Tensor) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a table of the embedding (K, E) and its classes (K,)."""
    columns = ["class", *(f"u{unit}" for unit in range(embedding.shape[1]))]
    pairs = zip(labels.tolist(), embedding.tolist(), strict=True)
    return columns, [[str(label), *row] for label, row in pairs]
