"""Settings of a held-out curve: a named entry of `held_out` in a configuration."""

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from lit_lul.data.image_datasets import ImageSource, load_images
from lit_lul.data.text import TextSource, load_word_bags
from lit_lul.errors import InvalidInput
from lit_lul.evaluation.datasets import READY_MADE
from lit_lul.evaluation.held_out_data import (
    HeldOutData,
    UnlabelledClasses,
    choose_classes,
    from_images,
    from_texts,
)
from lit_lul.learners.learner import Learner
from lit_lul.networks import MLPs, Network, Networks

Probe = Literal["ridge", "logistic", "logistic_cv"]
Protocol = Literal["inductive", "transductive"]
NEWER = ("dataset", "classes", "unlabelled_classes", "permuted", "batch_norm", "loss", "readout")
"""Settings that `describe` leaves out at their defaults, so that older descriptions stay valid."""


@dataclass(frozen=True)
class HeldOut:
    """Settings of a held-out curve: dataset, network, protocol and sizes.

    Raises:
        InvalidInput: for a number that is too small, no probe, or two kinds of data.
    """

    images: ImageSource | None = None
    """Images to learn from."""
    text: TextSource | None = None
    """Texts as bags of words; unlabelled ones are from the split "train"."""
    dataset: str = "digits"
    """If neither `images` nor `text` are set, one of `READY_MADE`, which need no files; by default
    scikit-learn's digits, 8 × 8."""
    classes: int | None = None
    """Number of classes to probe, chosen at random, the same in all draws; null for all."""
    unlabelled_classes: UnlabelledClasses = "all"
    """Classes of the unlabelled rows: all, the same that are probed, or only the others."""
    test_split: str = "test"
    """Split of images or texts that the labels come from."""
    networks: Networks = MLPs((4, 4), (128, 128))  # noqa: RUF009  # frozen
    """The network to train; of several, the median by cost (H.3.2)."""
    every_n_outer_steps: int = 100
    """Outer steps between measurements in a fit, which also measures at the start and the end."""
    inner_steps: int = 100
    """Inner steps of the rollout."""
    points: int = 10
    """Points of the curve after step 0, evenly spread."""
    batch_size: int = 128
    """B, unlabelled examples per inner step."""
    probes: list[Probe] = field(default_factory=lambda: ["ridge"])
    """Classifiers on the embedding: the objective's ridge, scikit-learn's logistic regression, the
    same with its penalty chosen by cross-validation."""
    protocol: Protocol = "inductive"
    """`inductive`: every labelled row is embedded independently, with the batch statistics of
    unlabelled rows; `transductive`: the labelled rows of a draw share their batch statistics."""
    statistics_rows: int = 2048
    """Largest number of unlabelled rows for the statistics of the inductive protocol."""
    labels_per_class: int = 10
    """Labelled examples of each class (section 5.3)."""
    tests_per_class: int = 50
    """Largest number of test examples of each class in a draw."""
    draws: int = 10
    """Number of draws, each with a new network, permutation of the inputs and labels."""
    permuted: bool = True
    """Whether every draw permutes the inputs; rules are trained on permuted ones (section 4.2)."""
    seed: int = 0
    """Determines the draws."""

    def __post_init__(self) -> None:
        least = {
            "every_n_outer_steps": 1,
            "inner_steps": 1,
            "points": 1,
            "batch_size": 2,
            "statistics_rows": 2,
            "labels_per_class": 1,
            "tests_per_class": 1,
            "draws": 2,
        }
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise InvalidInput(
                    f"held-out {name} {getattr(self, name)}: expected {smallest} or more"
                )
        if self.images is not None and self.text is not None:
            raise InvalidInput("held-out images and text: expected at most one of them")
        if self.dataset not in READY_MADE:
            raise InvalidInput(
                f"held-out dataset {self.dataset!r}: expected one of {', '.join(READY_MADE)}"
            )
        if not self.probes:
            raise InvalidInput("held-out probes []: expected ridge, logistic or both")
        if "logistic_cv" in self.probes and self.labels_per_class < 2:
            raise InvalidInput("held-out labels_per_class 1: logistic_cv needs 2 or more")

    @property
    def probe_steps(self) -> tuple[int, ...]:
        """The inner steps that are probed, starting at 0."""
        steps = {round(self.inner_steps * i / self.points) for i in range(self.points + 1)}
        return tuple(sorted(steps))

    def network_of(self, learner: Learner, inputs: int) -> Network:
        """The network that a learner trains on rows of so many inputs.

        Raises:
            InvalidInput: if it can train none of this size.
        """
        return learner.network_for(self.networks.at(0.5, inputs, learner.embedding_units))

    def describe(self) -> dict[str, Any]:
        """All settings that accuracies depend on, as JSON values."""
        values = describe(self) | {"networks": describe(self.networks)}
        del values["every_n_outer_steps"]
        return values

    def load(self, data_root: str | None) -> HeldOutData:
        """Load the data; `data_root` is searched first.

        Raises:
            InvalidInput: when they are missing or invalid.
        """
        data = self._load(data_root)
        if self.classes is None and self.unlabelled_classes == "all":
            return data
        return choose_classes(data, self.classes, self.unlabelled_classes)

    def _load(self, data_root: str | None) -> HeldOutData:
        if self.images is not None:
            test = replace(self.images, split=self.test_split)
            return from_images(load_images(self.images, data_root), load_images(test, data_root))
        if self.text is not None:
            splits = (load_word_bags(self.text, s, data_root) for s in ("train", self.test_split))
            return from_texts(*splits)
        return READY_MADE[self.dataset]()


def describe(thing: object) -> dict[str, Any]:
    """Class and attributes of a configured object, as JSON values."""
    attributes: dict[str, Any] = json.loads(json.dumps(vars(thing), default=_plain))
    settings = fields(thing) if is_dataclass(thing) else ()
    newer = {setting.name: setting.default for setting in settings if setting.name in NEWER}
    kept = {k: v for k, v in attributes.items() if k not in newer or v != newer[k]}
    return {"class": type(thing).__name__} | kept


def _plain(thing: object) -> object:
    return asdict(thing) if is_dataclass(thing) and not isinstance(thing, type) else repr(thing)
