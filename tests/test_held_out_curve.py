"""The held-out curve as a callback: shared by ranks, kept in checkpoints, measured once."""

import csv
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.datasets import digits
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLPs
from lit_lul.objectives import FewShotRidge, Objective
from lit_lul.training.held_out_curve import HeldOutCurve

HELD_OUT = HeldOut(
    networks=MLPs((1, 1), (8, 8)),
    inner_steps=4,
    points=2,
    batch_size=16,
    probes=["ridge", "logistic"],
    draws=3,
)
SETTINGS = UpdateSettings(
    hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.1
)


class Module:
    """What the callback uses of the Lightning module; counts the untrained learners made."""

    def __init__(
        self, settings: UpdateSettings = SETTINGS, objective: Objective = FewShotRidge()
    ) -> None:
        torch.manual_seed(0)
        self.learner = UnsupervisedUpdate(settings)
        self.objective, self.device = objective, torch.device("cpu")
        self.made = 0

    def make_learner(self) -> UnsupervisedUpdate:
        """An untrained learner of the same settings."""
        self.made += 1
        return UnsupervisedUpdate(self.learner.settings)


def trainer(rank: int = 0, ranks: int = 1, reduce: Any = lambda x, reduce_op: x) -> Any:
    return SimpleNamespace(
        global_rank=rank,
        world_size=ranks,
        global_step=5,
        is_global_zero=rank == 0,
        loggers=[],
        strategy=SimpleNamespace(reduce=reduce),
        precision_plugin=SimpleNamespace(forward_context=nullcontext),
    )


def start(module: Any, held_out: HeldOut = HELD_OUT, state: Any = None) -> HeldOutCurve:
    """The callback once training has started, with or without a checkpoint's state."""
    callback = HeldOutCurve("digits", held_out)
    callback.data = digits()
    if state is not None:
        callback.load_state_dict(state)
    callback.on_train_start(trainer(), module)
    return callback


def test_ranks_share_the_draws() -> None:
    def curves(rank: int, ranks: int, others: torch.Tensor | float) -> tuple[Any, torch.Tensor]:
        """One rank's curves, where the other ranks' accuracies are known; and its own."""
        own = []

        def reduce(accuracy: torch.Tensor, reduce_op: str) -> torch.Tensor:
            own.append(accuracy.clone())
            return accuracy + others

        module: Any = Module()
        callback = HeldOutCurve("digits", HELD_OUT)
        callback.data = digits()
        callback.on_train_start(trainer(rank, ranks, reduce), module)
        return callback.untrained, own[0]

    whole, _ = curves(0, 1, 0.0)
    _, second = curves(1, 2, 0.0)
    shared, first = curves(0, 2, second)
    assert (first[..., 1] == 0).all()
    assert (second[..., [0, 2]] == 0).all()
    for probe, curve in whole.items():
        assert shared[probe].mean == pytest.approx(curve.mean)


def test_the_untrained_curve_is_measured_once() -> None:
    module = Module()
    first = start(module)
    assert module.made == 1
    resumed = start(module, state=first.state_dict())
    assert module.made == 1
    assert resumed.untrained == first.untrained
    assert list(resumed.untrained) == ["ridge", "logistic"]


@pytest.mark.parametrize(
    ("module", "held_out"),
    [
        (Module(replace(SETTINGS, inner_rate=0.2)), HELD_OUT),
        (Module(objective=FewShotRidge(ridge=5.0)), HELD_OUT),
        (Module(), replace(HELD_OUT, protocol="transductive")),
        (Module(), replace(HELD_OUT, points=4)),
    ],
    ids=["learner", "objective", "protocol", "probe steps"],
)
def test_the_untrained_curve_of_other_settings_is_measured_again(
    module: Module, held_out: HeldOut
) -> None:
    resumed = start(module, held_out, start(Module()).state_dict())
    assert module.made == 1
    assert resumed.untrained["ridge"].steps == held_out.probe_steps


def test_curves_of_other_settings_are_not_taken_from_a_checkpoint() -> None:
    module = Module()
    before = start(module)
    before.curves[3] = {"ridge": Curve(HELD_OUT.probe_steps, (0.1, 0.2, 0.3), (0.0, 0.0, 0.0))}
    state = before.state_dict()
    assert start(module, state=state).curves == before.curves
    seldom = replace(HELD_OUT, every_n_outer_steps=7)
    assert start(module, seldom, state).curves == before.curves
    for changes in ({"protocol": "transductive"}, {"points": 4}, {"draws": 2}):
        assert not start(module, replace(HELD_OUT, **changes), state).curves


@pytest.mark.parametrize("protocol", ["inductive", "transductive"])
def test_files_and_summary_name_the_protocol(tmp_path: Path, protocol: Any) -> None:
    module: Any = Module()
    callback = start(module, replace(HELD_OUT, protocol=protocol))
    callback.folder = tmp_path
    callback.on_train_end(trainer(), module)
    assert f"Held-out digits, {protocol}, 10 labels per class" in callback.summary()
    written = json.loads((tmp_path / "digits_curve.json").read_text())
    assert written["protocol"] == protocol
    assert written["outer_step"] == 5
    with (tmp_path / "digits_curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["protocol"] for row in rows} == {protocol}
    assert {row["outer_step"] for row in rows} == {"untrained", "5"}
    for picture in ("curve", "receptive_fields", "embedding"):
        assert (tmp_path / f"digits_{picture}.png").stat().st_size > 1000


def test_another_objective_is_probed_with_the_default_ridge() -> None:
    class Other(Objective):
        def __call__(self, *_: Any) -> Any:
            raise NotImplementedError

    assert start(Module(objective=Other())).untrained == start(Module()).untrained
