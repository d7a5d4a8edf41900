"""MAML and its kin: their gradients equal those of plain loops, and what each adapts."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_lul.apply.rule import apply_rule
from lit_lul.errors import InvalidInput
from lit_lul.estimators import TruncatedBackprop, Truncation
from lit_lul.estimators.truncated_backprop import advance
from lit_lul.learners import (
    ANIL,
    MAML,
    Batch,
    GradientDescent,
    LearnedStart,
    Learner,
    MAMLSettings,
    MetaSGD,
    MetaSGDSettings,
    PrototypicalNetwork,
    StartSettings,
)
from lit_lul.networks.mlp import BATCH_NORM_EPS
from lit_lul.objectives import CrossEntropy, Labelled, Prototypes
from lit_lul.trees import tensors_of

TASKS, CLASSES, SHOTS, SIDE, STEPS, RATE = 2, 3, 2, 6, 3, 0.3
CONV: dict[str, Any] = {
    "inputs": SIDE**2, "embedding_units": CLASSES, "channels": 3, "blocks": 2,
}  # fmt: skip
DENSE: dict[str, Any] = {
    "network": "LinearHeadMLP", "inputs": SIDE**2, "hidden_units": [7, 6],
    "embedding_units": CLASSES,
}  # fmt: skip


def make(learner: Learner) -> Any:
    """The learner in float64, with biases that matter."""
    generator = torch.Generator().manual_seed(1)
    for parameter in learner.double().parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data.add_(0.1 * noise)
    return learner


def maml(network: dict[str, Any] = CONV, **settings: Any) -> MAML:
    torch.manual_seed(0)
    found: MAML = make(MAML(MAMLSettings(inner_rate=RATE, **network, **settings)))
    return found


def truncation(learner: LearnedStart, steps: int = STEPS) -> Truncation:
    """Tasks with a class signal, as the datamodule makes them for these learners."""
    generator = torch.Generator().manual_seed(2)
    y = torch.eye(CLASSES, dtype=torch.float64).repeat(SHOTS, 1)
    y = y.expand(1, TASKS, -1, -1)

    def images() -> Tensor:
        noise = torch.randn(*y.shape[:-1], SIDE**2, generator=generator, dtype=torch.float64)
        return noise + 2 * y.argmax(-1, keepdim=True)

    columns = torch.ones(TASKS, CLASSES, dtype=torch.bool)
    labelled = Labelled(images(), y, images(), y, columns, columns)
    batches = [Batch(labelled.support_x[0], y[0])] * steps
    return Truncation(learner.network, TASKS, batches, labelled, 0, 0)


def conv_net(phi: list[Tensor], x: Tensor) -> Tensor:
    """The ConvNet of one task with torch's own operations."""
    *kernels, head = phi[: len(phi) // 2]
    *biases, head_bias = phi[len(phi) // 2 :]
    images = x.view(-1, 1, SIDE, SIDE)
    for kernel, bias in zip(kernels, biases, strict=True):
        normal = F.batch_norm(
            F.conv2d(images, kernel, padding=1), None, None, torch.ones_like(bias), bias,
            training=True, eps=BATCH_NORM_EPS,
        )  # fmt: skip
        images = F.max_pool2d(F.relu(normal), 2)
    return images.flatten(1) @ head + head_bias


def dense_net(phi: list[Tensor], x: Tensor) -> Tensor:
    """The MLP of one task."""
    *weights, head = phi[: len(phi) // 2]
    *biases, head_bias = phi[len(phi) // 2 :]
    for weight, bias in zip(weights, biases, strict=True):
        m = x @ weight
        x = F.relu(F.batch_norm(m, None, None, training=True, eps=BATCH_NORM_EPS) + bias)
    return x @ head + head_bias


def plain_loop(learner: GradientDescent, first_order: bool) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradient of MAML as its paper writes it, one task after another."""
    theta = [p.detach().clone().requires_grad_() for p in learner.initial.values()]
    net = dense_net if learner.settings.network == "LinearHeadMLP" else conv_net
    labelled, losses = truncation(learner).labelled, []
    classes = labelled.support_y[0, 0].argmax(-1)
    for task in range(TASKS):
        phi = theta
        for _ in range(STEPS):
            loss = F.cross_entropy(net(phi, labelled.support_x[0, task]), classes)
            gradients = torch.autograd.grad(loss, phi, create_graph=not first_order)
            phi = [p - RATE * g.detach() if first_order else p - RATE * g
                   for p, g in zip(phi, gradients, strict=True)]  # fmt: skip
        losses.append(F.cross_entropy(net(phi, labelled.query_x[0, task]), classes))
    mean = torch.stack(losses).mean()
    return mean, list(torch.autograd.grad(mean, theta))


@pytest.mark.parametrize("network", [CONV, DENSE], ids=["conv", "dense"])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_gradient_is_that_of_a_plain_loop(
    network: dict[str, Any], first_order: bool, recompute: bool
) -> None:
    learner = maml(network, first_order=first_order)
    outcome = TruncatedBackprop(recompute)(learner, CrossEntropy(), None, truncation(learner))
    loss, gradients = plain_loop(learner, first_order)
    expected = torch.cat([g.flatten() for g in gradients])
    torch.testing.assert_close(outcome.score.loss.mean(), loss.detach(), rtol=1e-9, atol=1e-12)
    error = (outcome.gradient - expected).norm() / expected.norm()
    assert error < 1e-9


def test_orders_differ() -> None:
    gradients = [
        TruncatedBackprop()(learner, CrossEntropy(), None, truncation(learner)).gradient
        for learner in (maml(), maml(first_order=True))
    ]
    assert (gradients[0] - gradients[1]).norm() > 0.01 * gradients[0].norm()


def of_initial(learner: GradientDescent, gradient: Tensor) -> Tensor:
    """The part of the gradient that belongs to the initial φ, which comes first."""
    return gradient[: sum(p.numel() for p in learner.initial.values())]


@pytest.mark.parametrize("clamped", [False, True])
def test_meta_sgd_of_equal_rates_is_maml(clamped: bool) -> None:
    one = maml()
    other = make(MetaSGD(MetaSGDSettings(**CONV, negative_rates=not clamped)))
    other.initial.load_state_dict(one.initial.state_dict())
    with torch.no_grad():
        for rate in other.rate.values():
            rate.fill_(RATE)
    found, expected = (
        TruncatedBackprop()(learner, CrossEntropy(), None, truncation(learner))
        for learner in (other, one)
    )
    torch.testing.assert_close(
        of_initial(other, found.gradient), expected.gradient, rtol=1e-9, atol=1e-12
    )
    assert found.gradient[len(expected.gradient) :].abs().max() > 0, "rates are learned"


def test_rates_below_zero_count_as_zero_where_they_may_not_be_negative() -> None:
    learner = make(MetaSGD(MetaSGDSettings(**CONV, negative_rates=False)))
    with torch.no_grad():
        for rate in learner.rate.values():
            rate.fill_(-1)
    before = learner.start(learner.network, TASKS, torch.Generator())
    after = advance(learner, None, truncation(learner))
    for (_, old), (_, new) in zip(tensors_of(before), tensors_of(after), strict=True):
        torch.testing.assert_close(new, old)


def test_a_learned_rate_gets_a_gradient() -> None:
    learner = maml(learn_rate=True)
    outcome = TruncatedBackprop()(learner, CrossEntropy(), None, truncation(learner))
    index = [name for name, _ in learner.named_parameters()].index("rate")
    assert index == 0 or index == len(list(learner.parameters())) - 1
    step = 1e-5
    losses = []
    for change in (-step, step):
        with torch.no_grad():
            learner.rate.add_(change)
        losses.append(
            TruncatedBackprop()(
                learner, CrossEntropy(), None, truncation(learner)
            ).score.loss.mean()
        )
        with torch.no_grad():
            learner.rate.sub_(change)
    slope = (losses[1] - losses[0]) / (2 * step)
    torch.testing.assert_close(outcome.gradient[index], slope, rtol=1e-4, atol=1e-8)


def layers(state: Any) -> Iterator[tuple[bool, Tensor]]:
    """Every tensor of φ, and whether it belongs to the head."""
    params = state["params"]
    for tensors in (params["weights"], params["biases"]):
        for i, tensor in enumerate(tensors):
            yield i == len(tensors) - 1, tensor


@pytest.mark.parametrize("network", [CONV, DENSE], ids=["conv", "dense"])
def test_anil_adapts_the_head_alone(network: dict[str, Any]) -> None:
    learner = make(ANIL(MAMLSettings(inner_rate=RATE, **network)))
    before = learner.start(learner.network, TASKS, torch.Generator())
    after = advance(learner, None, truncation(learner))
    for (head, old), (_, new) in zip(layers(before), layers(after), strict=True):
        assert torch.equal(old, new) != head
    outcome = TruncatedBackprop()(learner, CrossEntropy(), None, truncation(learner))
    parts = outcome.gradient.split([p.numel() for p in learner.parameters()])
    assert all(part.abs().max() > 0 for part in parts), "meta-training changes all of it"


def test_prototypical_network_learns_without_inner_steps() -> None:
    torch.manual_seed(0)
    learner = make(PrototypicalNetwork(StartSettings(**CONV | {"embedding_units": 8})))
    given = truncation(learner, steps=0)
    outcome = TruncatedBackprop()(learner, Prototypes(), None, given)
    assert outcome.gradient.abs().max() > 0
    x, y = (torch.cat(parts, 2) for parts in zip(
        (given.labelled.support_x, given.labelled.support_y),
        (given.labelled.query_x, given.labelled.query_y), strict=True))  # fmt: skip
    phi = list(learner.initial.values())
    for task in range(TASKS):
        u, k = conv_net(phi, x[0, task]), CLASSES * SHOTS
        classes = y[0, task].argmax(-1)
        means = torch.stack([u[:k][classes[:k] == c].mean(0) for c in range(CLASSES)])
        logits = -torch.cdist(u[k:], means).square()
        loss = F.cross_entropy(logits, classes[k:])
        torch.testing.assert_close(outcome.score.loss[task], loss.detach())
        hits = (logits.argmax(-1) == classes[k:]).double().mean()
        torch.testing.assert_close(outcome.score.accuracy[task], hits)


def test_what_cannot_be_is_named() -> None:
    learner = maml()
    with pytest.raises(InvalidInput, match=r"MAML learns from labels: .* expect a learner without"):
        apply_rule(learner, torch.rand(20, SIDE**2))
    with pytest.raises(InvalidInput, match=r"network ConvNet.*: MAML expects ConvNet"):
        learner.check(maml(CONV | {"channels": 4}).network)
    with pytest.raises(InvalidInput, match="MAML: expected batches with targets"):
        learner.step(learner.network, learner.start(learner.network, 1, torch.Generator()),
                     Batch(torch.rand(1, 4, SIDE**2, dtype=torch.float64)))  # fmt: skip
    given = truncation(learner)
    carry = TruncatedBackprop()(learner, CrossEntropy(), None, given).carry
    with pytest.raises(InvalidInput, match=r"data\.problem_length must not exceed"):
        TruncatedBackprop()(learner, CrossEntropy(), carry, given)
