"""Learners and what judges them in docs/extending.md run as they are, and do what it says."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lit_lul
from extending_page import (
    COMMANDS,
    FILES,
    PAGE,
    SMALLER,
    SMALLER_CURVE,
    count_calls,
    fit,
    run,
    training_rows,
    write_files,
)
from learner_contract import Case, check_learner
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.estimators import Estimator, Outcome
from lit_lul.files.theta import load_learner, stored_settings
from lit_lul.learners import LEARNERS, TERMS, LocalRule
from lit_lul.learners.learner import Learner, register
from lit_lul.networks import MLP
from lit_lul.objectives import Labelled, Score

KINDS = ["local", "term", "rule", "network", "objective", "estimator", "noise", "zoom", "source"]


@pytest.fixture
def folder(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from write_files(run_folder, monkeypatch)


def test_the_page_is_files_and_commands() -> None:
    assert len(re.findall(r"^```(?:python|yaml)", PAGE, re.M)) == len(FILES)
    assert {name for name in FILES if name.endswith(".yaml")} == {
        f"my_{kind}.yaml"  # each has a test here
        for kind in KINDS
    }
    assert all(len(text.splitlines()) <= 60 for text in FILES.values())
    used = {word for command in COMMANDS for word in shlex.split(command)}
    for name, text in FILES.items():
        if name.endswith(".yaml"):
            assert name in used
            modules = re.findall(r"class_path: (\w+)\.\w+$", text, re.M)
            assert modules or name == "my_local.yaml"  # which needs no code
            assert all(f"{module}.py" in FILES for module in modules)


def test_local_rule_and_term(folder: Path) -> None:
    for name, terms in (("my_local", ["hebb", "decay"]), ("my_term", ["hebb", "oja"])):
        theta = fit(f"{name}.yaml", "--held_out={}") / "checkpoints" / "theta.safetensors"
        rule = load_learner(theta)
        assert isinstance(rule, LocalRule) and [*rule.settings.populations["all"]] == terms
        initial = LocalRule(rule.settings).coefficients["all"]
        assert (rule.coefficients["all"] != initial).all()
    del TERMS["oja"]  # as where nothing imports my_term
    with pytest.raises(
        InvalidInput, match="population all: unknown oja, expected some of"
    ) as raised:
        load_learner(theta)
    assert "\n" not in str(raised.value)


def test_learner(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theta = fit("my_rule.yaml", "--held_out={}") / "checkpoints" / "theta.safetensors"
    settings = {"embedding_units": 32, "layers": 2, "first_rate": 0.05}
    assert stored_settings(theta) == ("OjaRule", settings)
    learner = load_learner(theta)
    assert type(learner) is importlib.import_module("my_rule").OjaRule
    rates = learner.get_parameter("log_rates").exp()
    assert rates.shape == (2,) and ((rates - 0.05).abs() > 1e-4).all()
    with pytest.raises(InvalidInput, match="OjaRule expects an MLP of up to 2 layers"):
        learner.check(MLP((5, 4, 4, 32)))
    run("python use_my_rule.py")
    assert "torch.Size([500, 32])" in capsys.readouterr().out
    lit_lul(
        "validate", "--config", "my_rule.yaml", "--ckpt_path", str(theta), *SMALLER, "--held_out={}"
    )
    del LEARNERS["OjaRule"]  # as where nothing imports my_rule
    with pytest.raises(InvalidInput, match="unknown learner OjaRule") as raised:
        load_learner(theta)
    assert "\n" not in str(raised.value)


def test_a_learner_of_ones_own_keeps_the_contract(folder: Path, tmp_path: Path) -> None:
    module = importlib.import_module("my_rule")

    def make() -> Case:
        return Case(module.OjaRule(module.OjaSettings(3)).double(), MLP((5, 4, 3)))

    check_learner(make, tmp_path)


def test_learner_without_settings_class_is_named_when_it_is_made() -> None:
    class Nameless(Learner):
        embedding_units = 3

    with pytest.raises(ValueError, match=r"Nameless\.settings_class: must be a dataclass"):
        register(Nameless)
    assert "Nameless" not in LEARNERS


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("my_rule.OjaRule", "my_rule.Oja", "module 'my_rule' has no attribute 'Oja'"),
        ("my_rule.OjaRule", "my_network.LayerNormMLPs", "not correspond to a subclass of Learner"),
        ("layers: 2", "layers: 1", "OjaRule expects an MLP of up to 1 layers"),
    ],
)
def test_what_is_wrong_with_a_name_is_one_line(
    folder: Path, before: str, after: str, message: str
) -> None:
    path = folder / "my_rule.yaml"
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(InvalidInput, match=message) as raised:
        fit("my_rule.yaml", "--held_out={}")
    assert "\n" not in str(raised.value)


def test_network(folder: Path) -> None:
    fitted = fit("my_network.yaml", *SMALLER_CURVE)
    checkpoint = torch.load(fitted / "checkpoints" / "last.ckpt", weights_only=True)
    used = "LayerNormMLPs(hidden_layers=(1, 2), hidden_units=(24, 40), activation='relu', "
    assert checkpoint["cohort_settings"]["data.networks"].startswith(used)
    assert '"class": "LayerNormMLPs"' in checkpoint["callbacks"]["HeldOutCurve:digits"]["held_out"]
    network = importlib.import_module("my_network").LayerNormMLPs((1, 1), (4, 4)).at(0.5, 5, 3)
    assert network.sizes == (5, 4, 3) and network != MLP((5, 4, 3))
    generator = torch.Generator().manual_seed(0)
    params = network.init(2, generator)
    x = torch.rand(2, 6, 5, generator=generator)
    together = network.embed(params, x, network.statistics(params, x))
    torch.testing.assert_close(network.embed(params, x[:, :1]), together[:, :1])
    z = network.activations(params, x).z[-1] - params["biases"][-1].unsqueeze(-2)
    torch.testing.assert_close(z.mean(-1), torch.zeros(2, 6), rtol=0, atol=1e-5)


def labelled() -> Labelled:
    """Two classes with two examples each in the plane, and a column of regression targets."""
    support = torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 2.0]])
    query = torch.tensor([[1.0, 1.0], [2.5, 1.0], [1.5, 1.0]])
    targets = torch.tensor([[9.0], [9.0], [9.0], [9.0]])
    support_y = torch.cat([torch.eye(2)[[0, 0, 1, 1]], targets], dim=-1)
    query_y = torch.cat([torch.eye(2)[[0, 1, 1]], targets[:3]], dim=-1)
    is_class = torch.tensor([[True, True, False]])
    x, y, query_x, query_y = (t[None, None] for t in (support, support_y, query, query_y))
    return Labelled(x, y, query_x, query_y, is_class, torch.ones_like(is_class))


def test_objective(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prototypes = importlib.import_module("my_objective").Prototypes
    calls = count_calls(monkeypatch, prototypes, "__call__")
    rows = training_rows(fit("my_objective.yaml", "--held_out={}"))
    assert len(calls) == 2 * 2 + 1  # cohorts of both outer steps, and of validation
    assert all(0 < row["train/meta_loss"] < 20 for row in rows)
    with monkeypatch.context() as patch:
        patch.setattr(MLP, "embed", lambda network, params, x, statistics=None: x)
        score = prototypes(temperature=2.0)(MLP((2, 2)), {}, labelled())
    # squared distances to the means (0, 1) and (4, 1)
    logits = -torch.tensor([[1.0, 9.0], [6.25, 2.25], [2.25, 6.25]]) / 2
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1]))
    torch.testing.assert_close(score.loss, loss[None])
    torch.testing.assert_close(score.accuracy, torch.tensor([2 / 3]))
    with pytest.raises(InvalidInput, match=r"temperature 0\.0"):
        prototypes(0.0)


class Fixed(Estimator):
    """Gives the same gradient whatever it is asked."""

    def __init__(self, gradient: Tensor) -> None:
        self.gradient = gradient

    def __call__(self, learner: Any, objective: Any, carry: Any, truncation: Any) -> Outcome:
        """What it was made with, and the carry."""
        return Outcome(self.gradient, carry, Score(torch.zeros(1), torch.ones(1)))


def test_estimator(folder: Path) -> None:
    clipped = importlib.import_module("my_estimator").Clipped
    nothing: Any = None
    for gradient, expected in (
        ([3.0, 4.0], [0.6, 0.8]),
        ([0.3, 0.4], [0.3, 0.4]),
        ([0.0, 0.0], [0.0, 0.0]),
    ):
        outcome = clipped(Fixed(torch.tensor(gradient)), 1.0)(nothing, nothing, 7, nothing)
        torch.testing.assert_close(outcome.gradient, torch.tensor(expected))
        assert outcome.carry == 7 and outcome.score.accuracy == 1
    options = ("--held_out={}", "--model.estimator.init_args.largest=1.0e-3")
    (plain,) = training_rows(fit_quickstart("--trainer.max_steps=1"))
    rows = training_rows(fit("my_estimator.yaml", "--ckpt_path=last", *options))
    assert [row["step"] for row in rows] == [1, 2]  # it resumed the quick start's run
    assert rows[0] == plain
    assert plain["train/gradient_norm"] > 2e-3 > 1e-3 >= rows[1]["train/gradient_norm"] > 0


def fit_quickstart(*options: str) -> Path:
    """A run of the base itself."""
    lit_lul("fit", "--config", "quickstart.yaml", *SMALLER, "--held_out={}", *options)
    return Path("runs/quickstart/version_0")
