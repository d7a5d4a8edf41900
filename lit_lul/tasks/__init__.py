"""Tasks: their sources, and the stream of truncations of cohorts."""

from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.image_tasks import ImageTasks
from lit_lul.tasks.quadratic_tasks import QuadraticTasks
from lit_lul.tasks.source import Source, TaskSource
from lit_lul.tasks.synthetic_tasks import SyntheticTasks

__all__ = [
    "GlyphTasks",
    "ImageTasks",
    "QuadraticTasks",
    "Source",
    "SyntheticTasks",
    "TaskSource",
]
