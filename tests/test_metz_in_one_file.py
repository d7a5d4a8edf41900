"""The example in one file computes what the package does in the paper's form."""

import metz_in_one_file as example
import pytest
import torch
from torch import Tensor, nn

from lit_lul.learners import Batch, UnsupervisedUpdate, UpdateSettings
from lit_lul.learners.metz import PAPER
from lit_lul.learners.metz.algorithm import UpdateState
from lit_lul.networks import MLP
from lit_lul.objectives import FewShotRidge, Labelled
from lit_lul.objectives.few_shot_ridge import PAPER as PAPER_OBJECTIVE

SIZES = [7, 5, 6, 4]
TASKS = 2


@pytest.fixture
def rule() -> example.Rule:
    torch.manual_seed(0)
    rule = example.Rule(units=4, error=3, hidden=6, top=5, readout=2, rate=0.1).double()
    for parameter in rule.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return rule


@pytest.fixture
def phi() -> example.Phi:
    torch.manual_seed(1)
    return example.Phi(*([10 * p.double() for p in part] for part in example.new_phi(TASKS, SIZES)))


def package_rule(rule: example.Rule) -> UnsupervisedUpdate:
    """The package's rule with the example's θ."""
    sizes = {"embedding_units": 4, "error_channels": 3, "hidden_channels": 6, "top_channels": 5}
    settings = UpdateSettings(**PAPER | sizes | {"readout_channels": 2, "inner_rate": rule.rate})
    package = UnsupervisedUpdate(settings).double()
    first, second = ({name: pair[i].T for name, pair in rule.readouts.items()} for i in (0, 1))
    between, lower, upper = example.BETWEEN, example.WITHIN[:2], example.WITHIN[2:]
    below = [*(first[n] for n in between + lower), *(second[n] for n in lower)]
    above = [*(second[n] for n in between), *(first[n] for n in upper)]
    readouts = [*below, *above, *(second[n] for n in upper), rule.bias_readout.weight]
    theta = {
        "merge": rule.merge,
        "error_readout.weight": rule.error_readout.weight,
        "error_readout.bias": rule.error_readout.bias,
        "readouts.weight": torch.cat(readouts),
    }
    parts: dict[str, tuple[nn.Module, ...]] = {
        "top_signal": (rule.gather, rule.mix_units, rule.refine, rule.top_readout),
        "hidden_state": (rule.input_norm, rule.stack),
    }
    for name, modules in parts.items():
        theirs = [p for module in modules for p in module.parameters()]
        ours = dict(getattr(package, name).named_parameters(prefix=name))
        theta |= {n: t.view_as(p) for (n, p), t in zip(ours.items(), theirs, strict=True)}
    package.load_state_dict(theta)
    return package


def test_an_inner_step_is_the_packages(rule: example.Rule, phi: example.Phi) -> None:
    x = torch.rand(TASKS, 6, SIZES[0], dtype=torch.float64)
    state: UpdateState = {
        "params": {"weights": tuple(phi.W), "biases": tuple(phi.b)},
        "backward_weights": tuple(phi.V),
    }
    package = package_rule(rule)
    with torch.no_grad():
        theirs = package(MLP(tuple(SIZES)), state, Batch(x))
        ours = rule.step(phi, x)
    expected = [*theirs["params"]["weights"], *theirs["params"]["biases"]]
    expected += theirs["backward_weights"]
    for found, value in zip([*ours.W, *ours.b, *ours.V], expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-11)


def test_the_objective_is_the_packages(phi: example.Phi) -> None:
    x = torch.rand(2, TASKS, 12, SIZES[0], dtype=torch.float64)
    y = torch.eye(3, dtype=torch.float64).repeat(4, 1).expand(TASKS, -1, -1)
    columns = torch.ones(TASKS, 3, dtype=torch.bool)
    labelled = Labelled(x[:1], y[None], x[1:], y[None], columns, columns)
    params = {"weights": tuple(phi.W), "biases": tuple(phi.b)}
    theirs = FewShotRidge(**PAPER_OBJECTIVE)(MLP(tuple(SIZES)), params, labelled)
    ours: list[Tensor] = example.objective(phi, x[0], y, x[1], y)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_the_outer_loop_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example.main(outer_steps=20, unroll=1, problem=2, tasks=1)
    assert capsys.readouterr().out.startswith("outer step 20: loss ")
