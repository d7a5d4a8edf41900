"""The configuration of the few-shot studies."""

from dataclasses import dataclass, field, fields
from pathlib import Path

from lit_lul.errors import InvalidInput
from lit_lul.learners.learned_start import StartSettings
from lit_lul.report.study import parse, read_values
from lit_lul.tasks.clusters import Clusters
from lit_lul.tasks.source import Source

TOGETHER = 20
"""Episodes that are measured at once."""


@dataclass(frozen=True)
class RuleNote:
    """What the meta-training of a rule that ships used, from its card."""

    labels: str = "?"
    compute: str = "?"
    """Episodes or inner steps."""


@dataclass(frozen=True)
class Scratch:
    """Choices for gradient descent from scratch, made on episodes of training classes."""

    rates: list[float] = field(default_factory=lambda: [0.01, 0.03, 0.1, 0.3, 1.0])
    steps: list[int] = field(default_factory=lambda: [5, 10, 20, 50, 100])
    """Numbers of steps, in increasing order."""


@dataclass(frozen=True)
class StudySource:
    """One source of episodes and what is measured on it."""

    tasks: Source
    """Test episodes are tasks of its validation classes, with its first number of ways."""
    network: StartSettings
    """The network that is trained from scratch: that of the learners."""
    runs: dict[str, str] = field(default_factory=dict)
    """Folders of runs of `fit` by the name of their row."""
    adaptation: list[str] = field(default_factory=list)
    """Runs whose adapting is studied."""
    rules: dict[str, RuleNote] = field(default_factory=dict)
    """Rules that ship, or files of θ, that train a network on the unlabelled training images."""
    clusters: Clusters = field(default_factory=Clusters)
    """The embedding that CACTUs clusters, which is probed."""


@dataclass(frozen=True)
class StudyConfig:
    """The studies; numbers of episodes are multiples of `TOGETHER`."""

    sources: dict[str, StudySource]
    shots: list[int] = field(default_factory=lambda: [1, 5])
    """Labels per class."""
    queries: int = 15
    """Queries per class."""
    episodes: int = 600
    tuning_episodes: int = 100
    """Episodes of training classes that choices for training from scratch are made on."""
    scratch: Scratch = field(default_factory=Scratch)
    """Choices for training from scratch."""
    data_root: str | None = None
    """Folder of datasets; else LIT_LUL_DATA, else the hub."""

    def __post_init__(self) -> None:
        for name in ("episodes", "tuning_episodes"):
            count = getattr(self, name)
            if count < 1 or count % TOGETHER:
                raise InvalidInput(f"{name} must be a multiple of {TOGETHER}, got {count}")

    def describe(self) -> list[object]:
        """What all test episodes depend on, as JSON values."""
        return [self.queries, self.episodes, *self.shots]


def load_studies(config: Path, quick: bool) -> StudyConfig:
    """Read the configuration; raises `InvalidInput` when it is missing or a value is invalid."""
    values = read_values(config, {setting.name for setting in fields(StudyConfig)}, quick)
    studies: StudyConfig = parse(config, StudyConfig, values, "studies")
    return studies
