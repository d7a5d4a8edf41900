"""The LSTM optimizer: its truncation by hand, coordinates apart, and any module by `Learned`."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_lul import LSTMOptimizer, LSTMSettings, load_rule, save_learner
from lit_lul.apply.optim import Learned
from lit_lul.errors import InvalidInput
from lit_lul.estimators import TruncatedBackprop, Truncation
from lit_lul.learners import Batch, LocalRule
from lit_lul.learners.lstm_optimizer import log_and_sign
from lit_lul.networks import Linear
from lit_lul.objectives import SquaredError
from lit_lul.tasks.plan import Plan
from lit_lul.tasks.quadratic_tasks import QuadraticFunctions
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.source import Seeds
from lit_lul.training.truncations import Needs, realise

TASKS, DIMENSIONS, STEPS = 3, 4, 5
SOURCE = QuadraticFunctions("quadratics", [DIMENSIONS], 1.0)
SIZES = ProblemSizes(TASKS, 1, 1, 1)


def make_learner(**settings: Any) -> LSTMOptimizer:
    """A small learner in float64 whose updates are not small."""
    torch.manual_seed(2)
    sizes: dict[str, Any] = {"embedding_units": 1, "loss": "squared_error", "hidden_units": 6}
    return LSTMOptimizer(LSTMSettings(**sizes | settings)).double()


def truncation(number: int = 0) -> Truncation:
    """One truncation of the same three quadratics, in float64."""
    content = SOURCE.plan(SOURCE.families[0], STEPS, SIZES, Seeds([7], [7, number]))
    plan = Plan(0, number == 0, 0, Linear(DIMENSIONS, 1), TASKS, 0, SOURCE, content, 3, 4)
    return realise(plan, Needs(torch.device("cpu"), torch.float64, "labelled"))


def by_hand(learner: LSTMOptimizer, carry: Any, problem: Truncation) -> Tensor:
    """The gradient of one truncation: a loop over tasks, steps, coordinates and gates."""
    w, y = problem.labelled.query_x[0], problem.labelled.query_y[0]
    cells: list[Any] = list(learner.cells)
    total = torch.zeros((), dtype=torch.float64)
    for task in range(TASKS):
        phi = carry["params"]["weight"][task, :, 0].detach()
        layers = list(zip(carry["hidden"], carry["cell"], strict=True))
        memory = [[(h[task, i], c[task, i]) for h, c in layers] for i in range(DIMENSIONS)]
        for _ in range(STEPS):
            residual = w[task] @ phi - y[task, :, 0]
            gradient = (2 / DIMENSIONS * w[task].T @ residual).detach()
            change = []
            for i, g in enumerate(gradient):
                small = abs(g) < math.exp(-10)
                x = torch.stack(
                    [torch.full_like(g, -1), math.exp(10) * g]
                    if small
                    else [g.abs().log() / 10, g.sign()]
                )
                after = []
                for cell, (h, c) in zip(cells, memory[i], strict=True):
                    gates = cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh
                    enter, forget, new, leave = gates.chunk(4)
                    c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
                    x = leave.sigmoid() * c.tanh()
                    after.append((x, c))
                memory[i] = after
                change.append(0.1 * (learner.readout.weight[0] @ x + learner.readout.bias[0]))
            phi = phi + torch.stack(change)
            total = total + (w[task] @ phi - y[task, :, 0]).square().mean() / STEPS / TASKS
    gradients = torch.autograd.grad(total, list(learner.parameters()))
    return torch.cat([g.flatten() for g in gradients])


@pytest.mark.parametrize("recompute", [False, True])
def test_the_gradient_of_a_truncation_is_that_of_a_loop_by_hand(recompute: bool) -> None:
    learner, estimator = make_learner(), TruncatedBackprop(recompute=recompute, score_every=1)
    first = estimator(learner, SquaredError(), None, truncation())
    second = estimator(learner, SquaredError(), first.carry, truncation(1))
    expected = by_hand(learner, first.carry, truncation(1))
    torch.testing.assert_close(second.gradient, expected, rtol=1e-9, atol=1e-12)


def test_inputs_are_logarithm_and_sign() -> None:
    g = torch.tensor([1.0, -math.exp(-5), math.exp(-12), 0.0], dtype=torch.float64)
    expected = [[0, 1], [-0.5, -1], [-1, math.exp(-2)], [-1, 0]]
    torch.testing.assert_close(log_and_sign(g, 10.0), torch.tensor(expected, dtype=torch.float64))


def test_coordinates_and_tasks_are_independent() -> None:
    learner = make_learner()
    gradient = torch.randn(7, dtype=torch.float64)
    order = torch.randperm(7)
    hidden, cell = learner.start_memory((7,))
    for _ in range(3):  # states differ after the first step
        _, hidden, cell = learner.update(gradient, hidden, cell)
    permuted = [tuple(m[order] for m in memory) for memory in (hidden, cell)]
    plain, other = (
        learner.update(gradient, hidden, cell),
        learner.update(gradient[order], *permuted),
    )
    torch.testing.assert_close(other[0], plain[0][order])
    torch.testing.assert_close(other[1], tuple(m[order] for m in plain[1]))


def test_functions_stay_the_same_over_truncations_and_differ_between_problems() -> None:
    first, second = truncation(), truncation(1)
    for one, other in zip(first.batches, second.batches, strict=True):
        assert one.y is not None and other.y is not None
        assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)
        assert torch.equal(one.x, first.labelled.query_x[0])
    content = SOURCE.plan(SOURCE.families[0], STEPS, SIZES, Seeds([8], [7, 0]))
    assert not torch.equal(content["w"].double(), first.labelled.query_x[0])


def test_labels_are_needed() -> None:
    learner = make_learner()
    state = learner.start(Linear(2, 1), 1, torch.Generator())
    with pytest.raises(InvalidInput, match="LSTMOptimizer: expected minibatches with labels"):
        learner.step(Linear(2, 1), state, Batch(torch.zeros(1, 3, 2)))


def test_the_optimizer_of_a_module_does_the_step_of_the_learner() -> None:
    learner, problem = make_learner(), truncation()
    network = problem.network
    state = learner.start(network, TASKS, torch.Generator().manual_seed(0))
    module = nn.Linear(DIMENSIONS, 1, bias=False).double()
    module.weight.data.copy_(state["params"]["weight"][0].T)
    optimizer = Learned(module.parameters(), learner)
    for batch in problem.batches:
        assert batch.y is not None
        optimizer.zero_grad()
        F.mse_loss(module(batch.x[0]), batch.y[0]).backward()
        optimizer.step()
        with torch.no_grad():
            state = learner.step(network, state, batch)
    torch.testing.assert_close(module.weight[0].data, state["params"]["weight"][0, :, 0])


def train(model: nn.Module, optimizer: Learned, steps: int) -> None:
    """Take steps on a fixed minibatch."""
    x = torch.linspace(-1, 1, 12).view(4, 3).to(next(model.parameters()).dtype)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = model(x).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        assert optimizer.step(closure).isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_optimizer_resumes_in_any_precision(dtype: torch.dtype) -> None:
    def fresh() -> nn.Module:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        model.register_parameter("unused", nn.Parameter(torch.ones(2)))  # has no gradient
        return model.to(dtype)

    whole = fresh()
    train(whole, Learned(whole.parameters(), make_learner()), 6)
    half = fresh()
    optimizer = Learned(half.parameters(), make_learner())
    train(half, optimizer, 3)
    resumed = fresh()
    resumed.load_state_dict(half.state_dict())
    other = Learned(resumed.parameters(), make_learner())
    other.load_state_dict(optimizer.state_dict())
    train(resumed, other, 3)
    for one, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, expected) and one.dtype == dtype
    assert torch.equal(whole.get_parameter("unused"), torch.ones(2, dtype=dtype))


def test_groups_have_factors_of_their_own() -> None:
    model = nn.ParameterList(nn.Parameter(torch.ones(3)) for _ in range(3))
    groups = [{"params": [model[0]]}, {"params": [model[1]], "lr": 0.5}, {"params": [model[2]]}]
    optimizer = Learned(groups, make_learner())
    optimizer.param_groups[2]["lr"] = 0.0  # as a scheduler would
    sum(p.square().sum() for p in model).backward()
    optimizer.step()
    whole, half, none = (p.detach() - 1 for p in model)
    torch.testing.assert_close(half, whole / 2)
    assert whole.abs().min() > 0 and not none.any()


def test_only_learned_optimizers_are_taken_and_they_are_no_rules(tmp_path: Path) -> None:
    parameters = [nn.Parameter(torch.zeros(2))]
    for name, learner in {"rule": LocalRule(), "optimizer": make_learner().float()}.items():
        save_learner(learner, tmp_path / f"{name}.safetensors")
    Learned(parameters, tmp_path / "optimizer.safetensors")
    with pytest.raises(InvalidInput, match="holds θ of LocalRule, expected one of LSTMOptimizer"):
        Learned(parameters, tmp_path / "rule.safetensors")
    with pytest.raises(InvalidInput, match=r"LSTMOptimizer learns from labels.* small"):
        load_rule(tmp_path / "optimizer.safetensors")
    with pytest.raises(InvalidInput, match="lr -1"):
        Learned(parameters, make_learner(), lr=-1)


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[1] / "docs" / "learned_optimizer.md"
    text = page.read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(example, {})
    printed = float(capsys.readouterr().out)
    (said,) = re.findall(r"This prints ([\d.]+);", text)
    assert printed == pytest.approx(float(said), abs=2e-3)
