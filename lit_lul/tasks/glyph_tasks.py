"""Classification of rendered characters (appendix H.1.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lit_lul.data.glyphs import characters_in, load_glyphs
from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.clusters import Clusters
from lit_lul.tasks.label_free import ClassesFrom, training_tasks
from lit_lul.tasks.schedules import Weight
from lit_lul.tasks.source import Source, check_mixture
from lit_lul.tasks.transforms import Transform

SpecialCharacters = Literal["letters", "mathematics", "currency"]
SPECIAL: tuple[SpecialCharacters, ...] = ("letters", "mathematics", "currency")
HELD_OUT_SEED = 2018


@dataclass(frozen=True)
class GlyphTasks(Source):
    """A source of tasks of rendered characters.

    Raises:
        InvalidInput: for ways below two, a share outside 0 to 1, or a negative weight.
    """

    side: int = 14
    """Height and width of the images, in pixels (H.1.1)."""
    weight: Weight = 1.0
    """Share of these tasks, relative to the weights of the other sources; it may move."""
    ways: list[int] = field(default_factory=lambda: [10, 13, 14, 17, 20, 30])
    """Numbers of classes of a task, equally frequent; classes are drawn at random."""
    characters: Literal["all", "letters", "mathematics", "currency"] = "all"
    """The characters to draw classes from: all, or only those of one kind."""
    transforms: list[Transform] = field(default_factory=list)
    """Transforms of the inputs, in this order."""
    held_out: float = 0.1
    """Share of the characters kept for validation (no letters, mathematics or currency signs)."""
    classes: ClassesFrom = "labels"
    """What training tasks take as classes; validation tasks always have true labels."""
    clusters: Clusters = field(default_factory=Clusters)
    """How images are clustered where clusters are the classes."""

    def __post_init__(self) -> None:
        check_mixture("glyphs", self.ways, self.weight)
        if not 0 <= self.held_out <= 1:
            raise InvalidInput(f"glyphs held_out {self.held_out}: expected a share, 0 to 1")

    def load(self, name: str, data_root: str | None) -> tuple[ClassTasks, ClassTasks | None]:
        """The tasks of training, and of validation if all characters are used.

        Raises:
            InvalidInput: when a task needs more classes than there are.
        """
        glyphs = load_glyphs(self.side)
        everything = np.arange(glyphs.n_classes)
        if self.characters != "all":
            kind = np.array(characters_in(self.characters, glyphs.class_names))
            return self._training(name, glyphs, kind), None
        ordinary = np.setdiff1d(everything, special_characters(glyphs.class_names))
        order = np.random.default_rng(HELD_OUT_SEED).permutation(ordinary)
        held_out = order[: round(self.held_out * len(order))]
        training = self._training(name, glyphs, np.setdiff1d(everything, held_out))
        validation = ClassTasks(name, glyphs, held_out, self.ways, self.weight, self.transforms)
        return training, validation

    def _training(self, name: str, glyphs: ImageSet, pool: np.ndarray) -> ClassTasks:
        mixture = self.ways, self.weight, self.transforms
        return training_tasks(self.classes, self.clusters, name, glyphs, pool, *mixture)


def special_characters(names: Sequence[str]) -> list[int]:
    """Indices of the letters, mathematical symbols and currency signs among `names`."""
    return sorted(index for kind in SPECIAL for index in characters_in(kind, names))
