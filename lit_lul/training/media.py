"""Pictures and tables of held-out evaluations, passed to loggers that take them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lit_lul.files.atomic import replace_file


def show_figure(trainer: Trainer, name: str, figure: Figure, picture: Path) -> None:
    """Write a figure to a file, and pass it to loggers that take images.

    Args:
        trainer: the trainer with the loggers.
        name: name of the image in the loggers.
        figure: the figure.
        picture: path of the PNG file.

    Raises:
        InvalidInput: when the file cannot be written.
    """
    with replace_file(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            with Image.open(picture) as image:
                pixels = np.asarray(image.convert("RGB"))
            logger.experiment.add_image(name, pixels, trainer.global_step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [str(picture)], step=trainer.global_step)


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
