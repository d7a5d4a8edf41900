"""The command `report baselines`: rules beside every baseline, on a few datasets of images."""

from functools import partial
from pathlib import Path
from typing import get_args

from lit_lul.evaluation.baselines import BASELINES, RANDOM_EMBEDDING, RANDOM_NETWORK
from lit_lul.evaluation.features import COMPONENTS, DICTIONARY_ROWS, FEATURES, MORE_COMPONENTS
from lit_lul.report.comparison import Section, comparison_page
from lit_lul.report.entry import Entry, Methods
from lit_lul.report.study import DataCache, Study, load_rules, page_path, spell
from lit_lul.report.suite import Half, headings, load_suite
from studies.baselines.with_labels import CONFIDENCE, NEIGHBOURS, WITH_LABELS
from studies.networks.self_supervised import CORRUPTED, SELF_SUPERVISED, STEPS

EVERY = {**BASELINES, **SELF_SUPERVISED, **WITH_LABELS}
"""All baselines."""
GROUPS = {
    "fitted to unlabelled rows": [*FEATURES],
    "trained by gradients": [*SELF_SUPERVISED],
    "unlabelled rows and labels together": [*WITH_LABELS],
    "random networks": [RANDOM_EMBEDDING, RANDOM_NETWORK],
}
ABOUT = f"""Settings and draws are those of the [suite](suite.md), from which the rows that it has
were taken; rules and networks are inductive. All methods get the same unlabelled rows, and the
labels only for the classifier, except *label spreading* (along a graph of {NEIGHBOURS} nearest
neighbours) and *self-training* (a logistic regression that takes over its predictions of which it
is {CONFIDENCE:.0%} sure), which classify raw inputs themselves. Nothing was tuned on these
datasets: sizes are round numbers, or those of papers.

- *ICA* and *NMF* have {COMPONENTS} components, *whitened PCA* {COMPONENTS} or {MORE_COMPONENTS}.
  The *dictionary* has {MORE_COMPONENTS} atoms, learned from {DICTIONARY_ROWS:,} rows. *SoftHebb* is
  a plasticity designed by hand: units compete for a row, and each moves towards it by its share.
- *Denoising* autoencoder, *contrastive* (SCARF) and *VICReg* train the network that rules train, by
  {STEPS:,} steps of Adam on minibatches in which {CORRUPTED:.0%} of the inputs are replaced by
  those of other rows. {STEPS:,} steps are few for gradient descent: longer training makes them
  better."""


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
    part = entries[0].parts[0]
    groups = {**GROUPS, "rules": [*methods.rules]}
    titled = f"{part.labels_per_class} labels per class"
    section = Section(titled, entries, groups, headings(part, ["inductive"]))
    command = spell("baselines", rules=rules, config=config, out=out, quick=quick)
    title = "Rules beside stronger baselines"
    page = partial(comparison_page, title, command, [section], ABOUT)
    Study("baselines", entries, page).run(out)
