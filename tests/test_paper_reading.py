"""The paper's form against the independent NumPy reading of appendix G."""

import numpy as np
import paper_reading as reading
import pytest
import torch
from torch import Tensor

from lit_lul.learners.learner import Batch
from lit_lul.learners.metz import PAPER, UnsupervisedUpdate, UpdateSettings
from lit_lul.learners.metz.algorithm import UpdateState
from lit_lul.networks.mlp import MLP
from lit_lul.objectives import few_shot_ridge
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Labelled
from lit_lul.trees import map_tensors

SIZES = (7, 5, 6, 4)
SETTINGS = UpdateSettings(
    **PAPER,
    hidden_channels=6,
    error_channels=3,
    top_channels=5,
    readout_channels=2,
    embedding_units=SIZES[-1],
)
RULE_PLANES = ["zero_order", "rbf", "first_order"]
LOWER = ["lin_lower_sym", "sqr_lower_sym"]
UPPER = ["lin_upper_sym", "sqr_upper_sym"]


def randomised(module: UnsupervisedUpdate) -> UnsupervisedUpdate:
    """Give every parameter a value that is not its initial one."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data.add_(0.3 * noise)
    return module


def read_theta(rule: UnsupervisedUpdate) -> reading.PaperTheta:
    """θ of the rule under the names of the reading."""
    state = {name: p.detach().numpy() for name, p in rule.named_parameters()}

    def conv(name: str) -> tuple[reading.Array, reading.Array]:
        weight = state[f"{name}.weight"]
        bias = state.get(f"{name}.bias", np.zeros(len(weight)))
        return weight.reshape(*weight.shape[:2], -1).transpose(2, 1, 0), bias

    topd = ["gather", "mix_units.0", "mix_units.1", "refine.0", "refine.1"]
    p = SETTINGS.readout_channels
    rows = [state["readouts.weight"][i : i + p].T for i in range(0, 14 * p, p)]
    below, above = rows[:7], rows[7:14]
    readouts = dict(zip(RULE_PLANES, zip(below[:3], above[:3], strict=True), strict=True))
    readouts |= dict(zip(LOWER, zip(below[3:5], below[5:7], strict=True), strict=True))
    readouts |= dict(zip(UPPER, zip(above[3:5], above[5:7], strict=True), strict=True))
    return reading.PaperTheta(
        topd_convs=[
            *(conv(f"top_signal.{name}.conv") for name in topd),
            conv("top_signal.readout"),
        ],
        topd_betas=[state[f"top_signal.{name}.norm.offset"] for name in topd],
        input_beta=state["hidden_state.input_norm.offset"],
        h_convs=[conv(f"hidden_state.stack.{i}.conv") for i in range(4)],
        h_betas=[state[f"hidden_state.stack.{i}.norm.offset"] for i in range(4)],
        error=(state["error_readout.weight"].T, state["error_readout.bias"]),
        readouts=readouts,
        merge=dict(zip(SETTINGS.plane_names, state["merge"].tolist(), strict=True)),
        bias_readout=state["readouts.weight"][-1],
    )


def read_phi(state: UpdateState) -> reading.Phi:
    """φ and V of the first task under the names of the reading."""
    groups = (
        state["params"]["weights"],
        state["params"]["biases"],
        state["backward_weights"],
    )
    return reading.Phi(*([p[0].numpy() for p in group] for group in groups))


def agree(value: Tensor, expected: reading.Array) -> None:
    """Compare the first task's value."""
    np.testing.assert_allclose(value[0].detach().numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.fixture
def case() -> tuple[UnsupervisedUpdate, MLP, UpdateState, Tensor]:
    torch.manual_seed(0)
    rule = randomised(UnsupervisedUpdate(SETTINGS).double())
    network = MLP(SIZES)
    state = map_tensors(lambda p: 10 * p, rule.start(network, 1, torch.Generator().manual_seed(2)))
    return rule, network, state, torch.rand(1, 6, SIZES[0], dtype=torch.float64)


def test_inner_step(case: tuple[UnsupervisedUpdate, MLP, UpdateState, Tensor]) -> None:
    rule, network, state, x = case
    step = reading.inner_step(read_theta(rule), read_phi(state), x[0].numpy())
    activations = network.activations(state["params"], x)
    d, h = rule.propagate(state, activations)
    update = rule.compute_update(state, activations, h)
    following = rule(network, state, Batch(x))
    for layer in range(4):
        agree(d[layer].transpose(1, 2), step.d[layer])
        agree(h[layer].transpose(1, 2), step.h[layer])
    for i in range(3):
        agree(update.weights[i], step.delta_W[i])
        agree(update.biases[i], step.delta_b[i])
        agree(update.backward_weights[i], step.delta_V[i])
        agree(following["params"]["weights"][i], step.phi.W[i])
        agree(following["params"]["biases"][i], step.phi.b[i])
        agree(following["backward_weights"][i], step.phi.V[i])


def test_meta_objective(case: tuple[UnsupervisedUpdate, MLP, UpdateState, Tensor]) -> None:
    _, network, state, _ = case
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(2, 1, 1, 12, SIZES[0], generator=generator, dtype=torch.float64)
    classes = torch.randint(3, (2, 1, 1, 12), generator=generator)
    y = torch.cat([torch.nn.functional.one_hot(classes, 3).double(), x[..., :2]], dim=-1)
    labelled = Labelled(
        x[0], y[0], x[1], y[1], torch.tensor([[True] * 3 + [False] * 2]), torch.ones(1, 5).bool()
    )
    objective = FewShotRidge(**few_shot_ridge.PAPER)
    score = objective(network, state["params"], labelled)
    support_u, query_u = objective.embed(network, state["params"], labelled)
    targets = objective.scale_targets(labelled.support_y, labelled.is_target)
    loss, accuracy, coefficients = reading.meta_objective(
        read_phi(state),
        x[0, 0, 0].numpy(),
        y[0, 0, 0].numpy(),
        x[1, 0, 0].numpy(),
        y[1, 0, 0].numpy(),
        classes=3,
    )
    assert score.loss.item() == pytest.approx(loss, rel=1e-10)
    assert score.accuracy.item() == pytest.approx(accuracy)
    agree(objective.regress(support_u, targets, query_u).coefficients[0], coefficients)
