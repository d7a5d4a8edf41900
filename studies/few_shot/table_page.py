"""The page of the few-shot table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lit_lul.files.atomic import replace_file
from lit_lul.report.stored_rows import Row
from studies.few_shot.config import StudyConfig

SCRATCH, CENTROID, PROBE = "from scratch", "nearest centroid", "probe of the clusters' embedding"
"""Names of the rows without meta-training."""
NORMAL = 1.96
"""Half width of a 95% interval in standard errors."""


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    name: str
    labels: str
    """Labelled images that its meta-training used."""
    compute: str
    """Of its meta-training."""
    row: Row


@dataclass(frozen=True)
class TablePage:
    """The content of the page."""

    command: str
    """The command that measures everything in it."""
    studies: StudyConfig
    lines: Mapping[str, Sequence[Line]]
    """Rows by source."""
    missing: Sequence[str]
    """What was left out, and why."""


def write_table(page: TablePage, out: Path) -> None:
    """Write the markdown.

    Raises:
        InvalidInput: when it cannot be written.
    """
    parts = [_introduction(page, out)]
    for name, lines in page.lines.items():
        parts += [f"## {name}", accuracy_table(lines, page.studies.shots)]
        parts += [
            f"Points above two baselines on {name}, on the same episodes, with 95% intervals:",
            difference_table(lines, page.studies.shots),
        ]
    parts += [f"{why}." for why in page.missing]
    with replace_file(out) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")


def column(shots: int) -> str:
    """The name of the accuracies with a number of shots."""
    return f"{shots}-shot"


def accuracy_table(lines: Sequence[Line], shots: Sequence[int]) -> str:
    """Accuracy of every row, the best in bold, and what its meta-training used."""
    names = [column(k) for k in shots]
    best = {name: max(_accuracy(line, name).mean() for line in lines) for name in names}
    header = ["", *names, "labels in meta-training", "meta-training"]
    table = [header, ["---"] * len(header)]
    for line in lines:
        cells = []
        for name in names:
            mean, half = interval(_accuracy(line, name))
            cell = f"{mean:.1%} ± {half:.1%}"
            cells.append(f"**{cell}**" if mean == best[name] else cell)
        table.append([line.name, *cells, line.labels, line.compute])
    return markdown(table)


def difference_table(lines: Sequence[Line], shots: Sequence[int]) -> str:
    """Points of every row above training from scratch and above the probe, paired by episode."""
    by_name = {line.name: line for line in lines}
    names = [(other, column(k)) for other in (SCRATCH, PROBE) for k in shots]
    header = ["", *(f"above {other}, {name}" for other, name in names)]
    table = [header, ["---"] * len(header)]
    for line in lines:
        cells = []
        for other, name in names:
            difference = _accuracy(line, name) - _accuracy(by_name[other], name)
            cells.append("" if line.name == other else points(difference))
        table.append([line.name, *cells])
    return markdown(table)


def points(difference: np.ndarray) -> str:
    """A mean difference of shares in points, with its 95% interval."""
    mean, half = interval(100 * difference)
    return f"{mean:+.1f} ± {half:.1f}"


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean, and half width of its 95% interval."""
    return float(values.mean()), float(NORMAL * values.std(ddof=1) / len(values) ** 0.5)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A table of cells in markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in table)


def _accuracy(line: Line, name: str) -> np.ndarray:
    return np.array(line.row.accuracy[name][0])


def _introduction(page: TablePage, out: Path) -> str:
    studies = page.studies
    return f"""# Few-shot learners

```sh
{page.command}
```

Accuracy on {studies.episodes} test episodes of classes that training does not see, mean with 95%
interval; {studies.queries} queries per class. All rows are measured on the same episodes. Sources,
networks, runs and rules are those of the configuration.

- *{SCRATCH}*: the network of the learners, from a random initialisation, by gradient descent on the
  labels of the episode; rate and number of steps are the best on {studies.tuning_episodes} episodes
  of training classes.
- *{CENTROID}*: the nearest class mean of raw inputs.
- *{PROBE}*: ridge regression on the embedding that CACTUs clusters, fitted to unlabelled training
  images.
- *rule + ridge*: a network that the rule trains on unlabelled training images, then ridge
  regression on its embedding. These rules were meta-trained on other and more tasks.
- CACTUs, UMTRA and AAL are MAML on tasks without labels: clusters, single images and their
  augmented copies, random labels of unrelated images.

One seed of meta-training each: intervals are over episodes, not over runs. The accuracy of every
episode is in `{out.stem}/<source>.json`."""
