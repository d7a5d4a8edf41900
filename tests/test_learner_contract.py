"""Every registered learner keeps the contract of learners."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from learner_contract import CHECKS, Case, check_file

from lit_lul.learners import (
    ANIL,
    LEARNERS,
    MAML,
    Learner,
    LocalRule,
    LocalSettings,
    LSTMOptimizer,
    LSTMSettings,
    MAMLSettings,
    MetaSGD,
    MetaSGDSettings,
    PrototypeRule,
    PrototypeSettings,
    PrototypicalNetwork,
    StartSettings,
    UnsupervisedUpdate,
    UpdateSettings,
)
from lit_lul.learners.metz import PAPER
from lit_lul.networks import MLP, Linear

ROWS = MLP((5, 6, 4, 3), "tanh")
SMALL_RULE = {"hidden_channels": 4, "error_channels": 3, "top_channels": 3, "readout_channels": 2}
IMAGES: dict[str, Any] = {"inputs": 16, "embedding_units": 3, "channels": 2, "blocks": 2}
MIXED = {"first": {"last": 0.25, "first": 0.75}}
VECTORS: dict[str, Any] = {
    "network": "LinearHeadMLP", "inputs": 5, "embedding_units": 3, "hidden_units": [4],
}  # fmt: skip


def of_rows(learner: Learner) -> Case:
    """A learner of rows."""
    return Case(learner, learner.network_for(ROWS))


def metz(**form: Any) -> Case:
    """The paper's rule in one of its forms."""
    settings: dict[str, Any] = {**SMALL_RULE, "embedding_units": 3, "inner_rate": 0.1, **form}
    return of_rows(UnsupervisedUpdate(UpdateSettings(**settings)))


def of_labels(learner: MAML | MetaSGD | PrototypicalNetwork) -> Case:
    """A learner of one network, which it starts from."""
    return Case(learner, learner.network)


MAKERS: dict[str, list[Callable[[], Case]]] = {
    "UnsupervisedUpdate": [metz, lambda: metz(**PAPER)],
    "LocalRule": [
        lambda: of_rows(LocalRule(LocalSettings(3, 0.3))),
        lambda: of_rows(LocalRule(LocalSettings(3, gains=[1.0, 2.0, 3.0, 4.0], layers=MIXED))),
    ],
    "PrototypeRule": [lambda: of_rows(PrototypeRule(PrototypeSettings(3)))],
    "MAML": [
        lambda: of_labels(MAML(MAMLSettings(**IMAGES, learn_rate=True))),
        lambda: of_labels(MAML(MAMLSettings(**VECTORS, loss="squared_error"))),
    ],
    "ANIL": [lambda: of_labels(ANIL(MAMLSettings(**IMAGES)))],
    "MetaSGD": [lambda: of_labels(MetaSGD(MetaSGDSettings(**VECTORS, negative_rates=False)))],
    "PrototypicalNetwork": [lambda: of_labels(PrototypicalNetwork(StartSettings(**IMAGES)))],
    # its inputs, gradients of a loss, count as constants: one step is exact
    "LSTMOptimizer": [
        lambda: Case(LSTMOptimizer(LSTMSettings(3, hidden_units=4)), Linear(5, 3), 1),
        lambda: Case(LSTMOptimizer(LSTMSettings(3, "squared_error", 1, 4)), ROWS, 1),
    ],
}
"""Tiny instances of every learner."""
CASES = [
    pytest.param(make, id=f"{name}{number}")
    for name, makers in MAKERS.items()
    for number, make in enumerate(makers)
]


def made(make: Callable[[], Case]) -> Case:
    """A learner whose θ is not what it starts with, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        case = make()
        case.learner.double()
        with torch.no_grad():
            for parameter in case.learner.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return case


def test_every_learner_is_under_contract() -> None:
    assert MAKERS.keys() == LEARNERS.keys()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("make", CASES)
def test_contract(make: Callable[[], Case], check: str) -> None:
    CHECKS[check](made(make))


@pytest.mark.parametrize("make", CASES)
def test_theta_comes_back_from_its_file(make: Callable[[], Case], tmp_path: Path) -> None:
    check_file(made(make), tmp_path)
