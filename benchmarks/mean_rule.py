"""Average θ over several checkpoints of a run, which reduces the noise of its last updates.

For example:

    python benchmarks/mean_rule.py early.safetensors late.safetensors --out mean.safetensors
"""

import argparse
import sys
from pathlib import Path

import torch

from lit_lul.errors import InvalidInput
from lit_lul.files.theta import check_settings, described, load_learner, save_learner
from lit_lul.learners import Learner


def mean_rule(paths: list[Path]) -> Learner:
    """A rule whose θ is the mean of those in the files.

    Raises:
        InvalidInput: when a file is not a rule, or has other settings than the first.
    """
    rules = [load_learner(path) for path in paths]
    for path, rule in zip(paths, rules, strict=True):
        check_settings(path, described(rule), described(rules[0]))
    thetas = [rule.state_dict() for rule in rules]
    mean = {name: torch.stack([theta[name] for theta in thetas]).mean(0) for name in thetas[0]}
    rules[0].load_state_dict(mean)
    return rules[0]


def main() -> None:
    """Write the mean of the rules on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("theta", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    try:
        save_learner(mean_rule(arguments.theta), arguments.out)
    except InvalidInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
