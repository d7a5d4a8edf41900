"""Classification of rendered characters (appendix H.1.1)."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lit_lul.constraints import Share
from lit_lul.data.glyphs import characters_in, load_glyphs
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.image_tasks import ImageClasses
from lit_lul.tasks.source import Families

SpecialCharacters = Literal["letters", "mathematics", "currency"]
SPECIAL: tuple[SpecialCharacters, ...] = ("letters", "mathematics", "currency")
HELD_OUT_SEED = 2018


@dataclass(frozen=True)
class GlyphTasks(ImageClasses):
    """A source of tasks of rendered characters."""

    side: int = 14
    """Height and width of the images, in pixels (H.1.1)."""
    ways: Families = field(default_factory=lambda: [10, 13, 14, 17, 20, 30])
    """Numbers of classes of a task, equally frequent; classes are drawn at random."""
    characters: Literal["all", "letters", "mathematics", "currency"] = "all"
    """The characters to draw classes from: all, or the characters of one kind."""
    held_out: Share = 0.1
    """Share of the characters kept for validation (no letters, mathematics or currency signs)."""

    def load(self, name: str, data_root: str | None) -> tuple[ClassTasks, ClassTasks | None]:
        """The tasks of training, and of validation if all characters are used."""
        glyphs = load_glyphs(self.side)
        everything = np.arange(glyphs.n_classes)
        if self.characters != "all":
            kind = np.array(characters_in(self.characters, glyphs.class_names))
            return self.tasks(name, glyphs, kind, self.ways, self.classes), None
        special = [i for kind in SPECIAL for i in characters_in(kind, glyphs.class_names)]
        ordinary = np.setdiff1d(everything, special)
        order = np.random.default_rng(HELD_OUT_SEED).permutation(ordinary)
        held_out = order[: round(self.held_out * len(order))]
        others = np.setdiff1d(everything, held_out)
        training = self.tasks(name, glyphs, others, self.ways, self.classes)
        return training, self.tasks(name, glyphs, held_out, self.ways, "labels")
