"""The command `report baselines`: rules beside every baseline, on a few datasets of images."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from lit_lul.evaluation.baselines import BASELINES, RANDOM_EMBEDDING, RANDOM_NETWORK
from lit_lul.evaluation.features import (
    CENTROIDS,
    COMPONENTS,
    DICTIONARY_ROWS,
    FEATURES,
    MORE_COMPONENTS,
)
from lit_lul.evaluation.probes import CHOICES_OF_C, FOLDS
from lit_lul.report.entry import Entry, Methods, column
from lit_lul.report.page import Block, Page
from lit_lul.report.study import DataCache, Study, load_rules, page_path, spell
from lit_lul.report.suite import (
    Half,
    Measured,
    Suite,
    accuracy_table,
    finding,
    load_suite,
    rank_picture,
    title,
)
from studies.baselines.with_labels import CONFIDENCE, NEIGHBOURS, WITH_LABELS
from studies.networks.self_supervised import CORRUPTED, SELF_SUPERVISED, STEPS

EVERY = {**BASELINES, **SELF_SUPERVISED, **WITH_LABELS}
"""All baselines."""
PROTOCOL = "inductive"
"""The protocol of rules and networks; the other baselines are the same in both."""


def baselines(
    rules: list[str],
    config: Path = Path("configs/baselines.yaml"),
    out: Path = Path("docs/baselines.md"),
    quick: bool = False,
) -> None:
    """Measure rules and every baseline on some datasets, and write their tables.

    Files are those of `report suite`, and a row is not measured again while its settings are the
    same; rows may be copied from there.

    Args:
        rules: shipped rules or files of θ.
        config: datasets in the form of the suite's configuration; both halves are measured.
        out: the page, a markdown file.
        quick: few draws and steps, in files of their own, to see that everything works.

    Raises:
        InvalidInput: for an invalid option, rule or file.
    """
    out = page_path(out, quick)
    halves = [load_suite(config, half, quick) for half in get_args(Half)]
    machine = halves[0].machine
    methods = Methods(EVERY, load_rules(rules, EVERY, machine.compile))
    cache = DataCache(machine.data_root)
    entries = [
        Entry(name, parts, methods, machine, cache)
        for half in halves
        for name, parts in half.entries.items()
    ]
    command = spell("baselines", rules=rules, config=config, out=out, quick=quick)
    Study(
        "baselines", entries, partial(baselines_page, command, halves[0], entries, methods, out)
    ).run(out)


def baselines_page(
    command: str,
    suite: Suite,
    entries: Sequence[Entry],
    methods: Methods,
    out: Path,
    rows: Measured,
) -> Page:
    """The page: a table per probe, and one of classifiers that use labels with unlabelled rows."""
    measured = {name: of_entry for name, of_entry in rows.items() if of_entry}
    part = entries[0].parts[0]
    groups = {
        "fitted to unlabelled rows": [*FEATURES],
        "trained by gradients": [*SELF_SUPERVISED],
        "random networks": [RANDOM_EMBEDDING, RANDOM_NETWORK],
        "rules": [*methods.rules],
    }
    sections: dict[str, list[Block]] = {
        title(probe, PROTOCOL).capitalize(): [
            accuracy_table(measured, groups, column(probe, PROTOCOL))
        ]
        for probe in part.probes
    }
    last = column(part.probes[-1], PROTOCOL)
    table = accuracy_table(measured, {"": [*WITH_LABELS]}, last)
    sections["Unlabelled rows and labels together"] = [WITH_LABELS_TEXT, table]
    return Page(
        "Rules beside stronger baselines",
        finding(measured, methods, f"{part.labels_per_class} labels per class"),
        command,
        rank_picture(measured, {entry.name: entry.source for entry in entries}),
        sections,
        _method(suite, out),
    )


WITH_LABELS_TEXT = f"""Classifiers on raw inputs that get each draw's labelled rows together with
unlabelled rows, those that give networks their statistics. *Label spreading* is along a graph of
{NEIGHBOURS} nearest neighbours; *self-training* is a logistic regression that takes over its
predictions of which it is {CONFIDENCE:.0%} sure, with C chosen on the labels."""


def _method(suite: Suite, out: Path) -> str:
    part = next(iter(suite.entries.values()))[0]
    penalties = ", ".join(f"{c:g}" for c in CHOICES_OF_C)
    return f"""Few-shot accuracy in percent with {part.labels_per_class} labels per class, mean over
{part.draws} draws, the same for all methods; settings and draws are those of the
[suite](suite.md), from which the rows that it has were taken. All methods get the same unlabelled
rows, and the labels only for the classifier on the features: ridge (λ = 0.1), or a logistic
regression with C chosen for every draw and method from {penalties} by {FOLDS}-fold cross-validation
on the labels. Nothing was tuned on these datasets: sizes are round numbers, or those of papers.

- *PCA*, *ICA* and *NMF* have {COMPONENTS} components, *whitened PCA* {COMPONENTS} or
  {MORE_COMPONENTS}. The *dictionary* has {MORE_COMPONENTS} atoms, learned from
  {DICTIONARY_ROWS:,} rows; *k-means* and *SoftHebb* have {CENTROIDS} units with triangle
  activation. *SoftHebb* is a plasticity designed by hand: units compete for a row, and each moves
  towards it by its share.
- *Denoising* autoencoder, *contrastive* (SCARF) and *VICReg* train the network that rules train
  (`{part.networks}`), by {STEPS:,} steps of Adam on minibatches of {part.batch_size} rows
  in which {CORRUPTED:.0%} of the inputs are replaced by those of other rows. Rules take
  {part.inner_steps} inner steps on as many rows, not corrupted. {STEPS:,} steps are few for
  gradient descent: longer training makes these baselines better.
- A *random network* is what these and rules start from. *Initial θ* is a rule's θ before
  meta-training.

The accuracy of every draw, for standard errors, is in `{out.stem}/<dataset>.json`."""
