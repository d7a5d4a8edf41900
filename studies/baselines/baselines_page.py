"""The page of the baselines: a row per method, a column per dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lit_lul.evaluation.baselines import RANDOM, SELF_SUPERVISED
from lit_lul.evaluation.features import (
    CENTROIDS,
    COMPONENTS,
    DICTIONARY_ROWS,
    FEATURES,
    MORE_COMPONENTS,
)
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.probes import CHOICES_OF_C, FOLDS
from lit_lul.files.atomic import replace_file
from lit_lul.report.stored_rows import Row
from lit_lul.report.suite_page import title
from lit_lul.report.suite_rows import column
from studies.baselines.with_labels import CONFIDENCE, NEIGHBOURS, WITH_LABELS
from studies.networks.encoder import CORRUPTED, STEPS

PROTOCOL = "inductive"
"""Of rules and networks; the other baselines are the same in both."""
BY_LOGISTIC = "logistic_cv"


def write_baselines(
    command: str,
    parts: Mapping[str, Sequence[HeldOut]],
    measured: Mapping[str, Mapping[str, Row]],
    missing: Mapping[str, str],
    rules: Sequence[str],
    out: Path,
) -> None:
    """Write the page.

    Args:
        command: the command that measures everything in it.
        parts: datasets by name.
        measured: rows by dataset.
        missing: why a dataset could not be loaded.
        rules: names of the rules.
        out: the markdown file.

    Raises:
        InvalidInput: when it cannot be written.
    """
    some, present = next(iter(parts.values()))[0], next(iter(measured.values())).keys()
    groups = {
        "fitted to unlabelled rows": [name for name in FEATURES if name in present],
        "trained by gradients": [name for name in SELF_SUPERVISED if name in present],
        "random networks and rules": [name for name in (*RANDOM, *rules) if name in present],
    }
    reasons = {name: f"left out: {why}" for name, why in missing.items()}
    reasons |= dict.fromkeys(parts.keys() - measured.keys() - missing.keys(), "not measured yet")
    text = [_introduction(command, some, out, reasons)]
    for probe in some.probes:
        text += [f"## {title(probe, PROTOCOL).capitalize()}", _table(groups, measured, probe)]
    with_labels = {"with labels": [name for name in WITH_LABELS if name in present]}
    text += ["## Unlabelled rows and labels together", WITH_LABELS_TEXT]
    text += [_table(with_labels, measured, some.probes[-1])]
    with replace_file(out) as temporary:
        temporary.write_text("\n\n".join(text) + "\n")


def _table(
    groups: Mapping[str, Sequence[str]], measured: Mapping[str, Mapping[str, Row]], probe: str
) -> str:
    """Accuracy and standard error, the best of each dataset and of the means in bold."""
    names = [name for group in groups.values() for name in group]
    key = column(probe, PROTOCOL)
    curves = {n: [rows[n].curve(key) for rows in measured.values()] for n in names}
    means = {n: np.array([c.mean[-1] for c in of_name]) for n, of_name in curves.items()}
    means = {n: np.append(of_name, of_name.mean()) for n, of_name in means.items()}
    best = np.max([*means.values()], axis=0)
    lines = [["", *measured, "mean"], ["---"] * (2 + len(measured))]
    for group, members in groups.items():
        lines.append([f"*{group}*", *[""] * (1 + len(measured))])
        for name in members:
            cells = [f"{c.mean[-1]:.1%} ± {c.standard_error[-1]:.1%}" for c in curves[name]]
            cells.append(f"{means[name][-1]:.1%}")
            marked = zip(cells, means[name], best, strict=True)
            lines.append([name, *(f"**{cell}**" if m == b else cell for cell, m, b in marked)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


WITH_LABELS_TEXT = f"""Classifiers on raw inputs that get each draw's labelled rows together with
unlabelled ones, those that give networks their statistics. *Label spreading* is along a graph of
{NEIGHBOURS} nearest neighbours; *self-training* is a logistic regression that takes over those
predictions of which it is {CONFIDENCE:.0%} sure, with C chosen on the labels."""


def _introduction(command: str, held_out: HeldOut, out: Path, reasons: Mapping[str, str]) -> str:
    absent = "".join(f"\n\n{name} is {why}." for name, why in sorted(reasons.items()))
    penalties = ", ".join(f"{c:g}" for c in CHOICES_OF_C)
    return f"""# Rules beside stronger baselines

```sh
{command}
```

Few-shot accuracy with {held_out.labels_per_class} labels per class, mean ± standard error over
{held_out.draws} draws, the same for all rows; settings and draws are those of the
[suite](suite.md), from which rows that it has were taken. All methods get the same unlabelled rows,
and the labels only for the classifier on the features: ridge (λ = 0.1), or a logistic regression
with C chosen for every draw and method from {penalties} by {FOLDS}-fold cross-validation on the
labels. Nothing was tuned on these datasets: sizes are round numbers, or those of papers.

- *PCA*, *ICA* and *NMF* have {COMPONENTS} components, *whitened PCA* {COMPONENTS} or
  {MORE_COMPONENTS}. The *dictionary* has {MORE_COMPONENTS} atoms, learned from
  {DICTIONARY_ROWS:,} rows; *k-means* and *SoftHebb* have {CENTROIDS} units with triangle
  activation. *SoftHebb* is a plasticity designed by hand: units compete for a row, and each moves
  towards it by its share.
- *Denoising* autoencoder, *contrastive* (SCARF) and *VICReg* train the network that rules train
  (`{held_out.networks}`), by {STEPS:,} steps of Adam on minibatches of {held_out.batch_size} rows
  in which {CORRUPTED:.0%} of the inputs are replaced by those of other rows. Rules take
  {held_out.inner_steps} inner steps on as many rows, not corrupted. {STEPS:,} steps are few for
  gradient descent: longer training makes these baselines better.
- A *random network* is what these and rules start from. An *untrained rule* has θ as it is
  initialised.

The accuracy of every draw is in `{out.stem}/<dataset>.json`.{absent}"""
