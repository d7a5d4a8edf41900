"""The released form against numbers computed by the authors' code."""

import golden_case as golden
import pytest
import torch
from torch import Tensor

from lit_lul.estimators.estimator import Truncation
from lit_lul.estimators.truncated_backprop import TruncatedBackprop
from lit_lul.learners.learner import Batch
from lit_lul.learners.metz import UnsupervisedUpdate
from lit_lul.learners.metz.algorithm import UpdateState
from lit_lul.learners.metz.planes import PLANES, Signals, scale_receptive_fields
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.trees import tensors_of

OBJECTIVE = FewShotRidge(ridge=golden.SETTINGS["ridge"])
RATES = {"": golden.SETTINGS["learning_rate"], "_fast": golden.SETTINGS["learning_rate_fast"]}


def agree(value: Tensor, key: str, rtol: float = 1e-9) -> None:
    """Compare one task's value with an array, relative to the array's largest entry."""
    expected = golden.tensor(key)
    error = (value.detach().double().squeeze() - expected.squeeze()).abs().max()
    assert error <= rtol * expected.abs().max(), f"{key}: off by {error:.2e}"


def test_sizes_of_theta() -> None:
    rule = UnsupervisedUpdate()
    count = {name: sum(p.numel() for p in m.parameters()) for name, m in rule.named_children()}
    topd_biases, h_biases = 3 * 64 + 2 * 32, 6 * 64  # in front of a norm, left out here
    assert count == {
        "top_signal": 37_728 - topd_biases,
        "hidden_state": 70_884 - h_biases,
        "error_readout": 2_080,
        "readouts": 3_900 + 65,
    }
    total = sum(p.numel() for p in rule.parameters())
    assert total == 114_670 - topd_biases - h_biases


def test_first_step() -> None:
    rule = golden.rule(RATES[""])
    state = golden.state("phi0")
    activations = golden.NETWORK.activations(state["params"], golden.tensor("minibatches")[:1])
    d, h = rule.propagate(state, activations)
    update = rule.compute_update(state, activations, h)
    for layer in range(3):
        agree(activations.x[layer], f"forward/x{layer}")
        agree(d[layer].transpose(1, 2), f"d/{layer}")
        agree(h[layer].transpose(1, 2), f"h/{layer}")
    for layer in (1, 2):
        agree(activations.z[layer], f"forward/z{layer}")
        low_rank = rule.readouts.products(
            rule.readouts.below(h[layer - 1]), rule.readouts.above(h[layer])[0]
        )
        w = scale_receptive_fields(state["params"]["weights"][layer - 1])
        v, u = activations.x[layer - 1].mT, activations.x[layer].mT
        signals = Signals(w, v, u, rule.settings.hebb, rule.settings.signed_squares)
        for name in rule.settings.plane_names:
            product = low_rank[name]() if name in low_rank else None
            agree(PLANES[name](signals, product), f"planes/{layer}/{name}")
        agree(update.weights[layer - 1], f"delta_W/{layer}")
        agree(update.biases[layer - 1], f"delta_b/{layer}")


@pytest.mark.parametrize(
    ("steps", "suffix", "dtype", "rtol"),
    [
        (1, "", torch.float64, 1e-9),
        (3, "", torch.float64, 1e-9),
        (5, "", torch.float64, 1e-9),
        (3, "_fast", torch.float64, 1e-9),
        (1, "", torch.float32, 1e-4),
        (5, "", torch.float32, 1e-4),
    ],
)
@pytest.mark.parametrize("gradient", [False, True])  # without one, steps overwrite more
def test_phi_after_steps(
    steps: int, suffix: str, dtype: torch.dtype, rtol: float, gradient: bool
) -> None:
    rule = golden.rule(RATES[suffix], dtype)
    state = golden.state("phi0", dtype)
    with torch.set_grad_enabled(gradient):
        for x in golden.tensor("minibatches", dtype)[:steps]:
            state = rule(golden.NETWORK, state, Batch(x[None]))
    states_agree(state, f"phi{steps}{suffix}", rtol)


def states_agree(state: UpdateState, key: str, rtol: float) -> None:
    """Compare φ and V with those of the case."""
    for layer in (1, 2):
        agree(state["params"]["weights"][layer - 1], f"{key}/W{layer}", rtol)
        agree(state["params"]["biases"][layer - 1], f"{key}/b{layer}", rtol)
        agree(state["backward_weights"][layer - 1], f"{key}/V{layer}", rtol)


def test_first_step_in_float32() -> None:
    rule = golden.rule(RATES[""], torch.float32)
    state = golden.state("phi0", torch.float32)
    x = golden.tensor("minibatches", torch.float32)[:1]
    activations = golden.NETWORK.activations(state["params"], x)
    d, h = rule.propagate(state, activations)
    for layer in range(3):
        agree(activations.x[layer], f"forward/x{layer}", 1e-4)
        agree(d[layer].transpose(1, 2), f"d/{layer}", 1e-4)
        agree(h[layer].transpose(1, 2), f"h/{layer}", 1e-4)


@pytest.mark.parametrize("at", ["phi0", "phi1", "phi3", "phi3_fast"])
def test_objective(at: str) -> None:
    labelled = golden.labelled()
    params = golden.state(at)["params"]
    support_u, query_u = OBJECTIVE.embed(golden.NETWORK, params, labelled)
    targets = OBJECTIVE.scale_targets(labelled.support_y, labelled.is_target)
    coefficients, predictions = OBJECTIVE.regress(support_u, targets, query_u)
    score = OBJECTIVE(golden.NETWORK, params, labelled)
    agree(support_u, f"objective/at_{at}/support_u")
    agree(query_u, f"objective/at_{at}/query_u")
    agree(coefficients, f"objective/at_{at}/coefficients")
    agree(predictions, f"objective/at_{at}/query_prediction")
    agree(score.loss, f"objective/at_{at}/loss")
    agree(score.accuracy, f"objective/at_{at}/accuracy")


@pytest.mark.parametrize("suffix", ["", "_fast"])
@pytest.mark.parametrize("recompute", [False, True])
def test_gradient_of_three_steps(suffix: str, recompute: bool) -> None:
    pairs = gradients(torch.float64, suffix, recompute)
    for name, (value, expected) in pairs.items():
        error = (value - expected).abs().max()
        assert error <= 1e-9 * expected.abs().max(), f"{name}: off by {error:.2e}"


@pytest.mark.parametrize("suffix", ["", "_fast"])
def test_direction_of_gradient_in_float32(suffix: str) -> None:
    assert cosine(gradients(torch.float32, suffix, recompute=True)) >= 0.999


@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_norms_give_the_same_gradient(recompute: bool) -> None:
    for name, (value, expected) in gradients(torch.float64, "", recompute, compiled=True).items():
        error = (value - expected).abs().max()
        assert error <= 1e-9 * expected.abs().max(), f"{name}: off by {error:.2e}"


@pytest.mark.parametrize("compiled", [False, True])
def test_bf16_hidden_states(compiled: bool) -> None:
    """Safe for φ; of a gradient only the direction is left, within about 20 degrees."""
    rule = golden.rule(RATES[""], torch.float32)
    rule.prepare(compiled)
    state = golden.state("phi0", torch.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for x in golden.tensor("minibatches", torch.float32)[:5]:
            state = rule(golden.NETWORK, state, Batch(x[None]))
    assert all(p.dtype == torch.float32 for _, p in tensors_of(state))
    states_agree(state, "phi5", 1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        pairs = gradients(torch.float32, "", recompute=True, compiled=compiled)
    assert cosine(pairs) > 0.93


def cosine(pairs: dict[str, tuple[Tensor, Tensor]]) -> float:
    """Between a whole gradient and the golden one."""
    value = torch.cat([v.flatten().double() for v, _ in pairs.values()])
    expected = torch.cat([e.flatten() for _, e in pairs.values()])
    return float(torch.cosine_similarity(value, expected, dim=0))


def gradients(
    dtype: torch.dtype, suffix: str, recompute: bool, compiled: bool = False
) -> dict[str, tuple[Tensor, Tensor]]:
    """By name of θ: the gradient after three unrolled steps, and the golden one."""
    rule = golden.rule(RATES[suffix], dtype)
    rule.prepare(compiled)
    batches = [Batch(x[None]) for x in golden.tensor("minibatches", dtype)[:3]]
    truncation = Truncation(
        golden.NETWORK, 1, batches, golden.labelled(dtype), start_seed=0, noise_seed=0
    )
    carry = golden.state("phi0", dtype)
    gradient = TruncatedBackprop(recompute)(rule, OBJECTIVE, carry, truncation).gradient
    named = list(rule.named_parameters())
    parts = gradient.split([p.numel() for _, p in named])
    expected = golden.theta(f"grad_phi3{suffix}")
    return {
        name: (part.view_as(p), expected[name])
        for (name, p), part in zip(named, parts, strict=True)
    }
