"""The rules of a report: files of θ, and an untrained rule beside them."""

from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_rule
from lit_lul.learners.learner import Learner

UNTRAINED_SEED = 0

UNTRAINED = "untrained rule"


def load_learners(names: Sequence[str], taken: Collection[str]) -> dict[str, Learner]:
    """Learners by file name, after an untrained one for each class and settings.

    Args:
        names: shipped rules or files of θ.
        taken: names of the report's other columns.

    Raises:
        InvalidInput: for a file that is missing or invalid or of a learner from labels, two of the
            same name, or different embedding widths.
    """
    rules = {Path(name).stem: load_rule(name) for name in names}
    if len(rules) < len(names) or rules.keys() & {*taken, UNTRAINED}:
        raise InvalidInput(f"--rules {' '.join(names)}: expected files with names of their own")
    widths = sorted({rule.embedding_units for rule in rules.values()})
    if len(widths) > 1:
        raise InvalidInput(f"--rules: expected one number of embedding units, found {widths}")
    kinds: dict[str, Learner] = {}
    for name, rule in rules.items():
        if not any(_same_kind(rule, other) for other in kinds.values()):
            kinds[f"{UNTRAINED} ({name})" if kinds else UNTRAINED] = rule
    return {name: untrained(rule) for name, rule in kinds.items()} | rules


def _same_kind(one: Learner, other: Learner) -> bool:
    return type(one) is type(other) and one.settings == other.settings


def untrained(rule: Learner) -> Learner:
    """A learner of the same class and settings with θ as it is initialised."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        return type(rule)(rule.settings)
