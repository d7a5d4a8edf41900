"""Neural baselines: their losses by hand, what they learn, and that draws do not mix."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_lul.evaluation.datasets import digits
from lit_lul.evaluation.held_out import HeldOut, Protocol
from lit_lul.networks.mlp import MLPs
from lit_lul.objectives import FewShotRidge
from lit_lul.tasks.glyph_tasks import GlyphTasks
from studies.networks.prototypical import Classes, nearest_mean, train_prototypical
from studies.networks.supervised import train_supervised
from studies.networks.training import log_spaced
from studies.networks.vae import (
    BOUND,
    CODE,
    log_cumulative,
    log_likelihood,
    lower_bound,
    new_vae,
    train_vae,
)

HELD_OUT = HeldOut(networks=MLPs((2, 2), (32, 32)), batch_size=32, draws=3, tests_per_class=20)


@pytest.mark.parametrize("mean", [-2.0, 0.0, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("log_deviation", [-5.0, -1.0, 1.0])
def test_levels_have_a_total_probability_of_one(mean: float, log_deviation: float) -> None:
    levels = (torch.arange(256, dtype=torch.float64) / 255).requires_grad_()
    at = torch.tensor([mean, log_deviation], dtype=torch.float64, requires_grad=True)
    found = log_likelihood(levels, at[0].expand(256), at[1].expand(256))
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-9)
    (slope,) = torch.autograd.grad(found.sum(), at)
    assert slope.isfinite().all()


def test_the_likelihood_of_a_level_is_the_mass_of_its_bin() -> None:
    normal = torch.distributions.Normal(0.3, 0.2)
    levels, at = torch.tensor([0, 100]) / 255, torch.tensor([0.3, 0.2]).expand(2, 2)
    found = log_likelihood(levels, at[:, 0], at[:, 1].log())
    edges = normal.cdf(torch.tensor([0.5, 99.5, 100.5]) / 255)
    mass = torch.stack([edges[0], edges[2] - edges[1]]).log()
    torch.testing.assert_close(found, mass, rtol=1e-3, atol=1e-3)


def test_the_distribution_function_is_that_of_torch() -> None:
    z = torch.linspace(-40, 8, 997, dtype=torch.float64)
    torch.testing.assert_close(log_cumulative(z), torch.special.log_ndtr(z), rtol=1e-7, atol=1e-12)


def test_the_bound_is_that_of_a_hand_written_autoencoder() -> None:
    generator = torch.Generator().manual_seed(0)
    params = new_vae(5, generator)
    x = torch.randint(256, (1, 6, 5), generator=generator) / 255
    noise = torch.randn(1, 6, CODE, generator=generator)

    def layers(mlp: object, h: Tensor) -> Tensor:
        for w, b in zip(mlp["weights"], mlp["biases"], strict=True):  # type: ignore[index]
            h = h @ w[0]
            h = torch.relu((h - h.mean(0)) / (h.var(0, correction=0) + 1e-6).sqrt() + b[0])
        return h

    code = layers(params["encoder"], x[0]) @ params["code"].weight[0]
    mean, deviation = code[:, :CODE], code[:, CODE:].exp()
    z = mean + deviation * noise[0]
    pixels = layers(params["decoder"], z) @ params["pixels"].weight[0]
    likelihood = log_likelihood(x[0], pixels[:, :5], pixels[:, 5:]).sum(-1)
    code_of, prior = (torch.distributions.Normal(m, s) for m, s in ((mean, deviation), (0.0, 1.0)))
    divergence = torch.distributions.kl_divergence(code_of, prior).sum(-1)
    expected = (likelihood - divergence)[None]
    torch.testing.assert_close(lower_bound(params, x, noise), expected, rtol=1e-4, atol=1e-3)


def test_a_vae_learns_and_its_draws_do_not_mix() -> None:
    data, steps = digits(), (0, 30, 120)
    found = train_vae(FewShotRidge(), data, HELD_OUT, range(2), steps)
    alone = train_vae(FewShotRidge(), data, HELD_OUT, [1], steps)
    assert found["ridge"].shape == (3, 2)
    assert (found[BOUND].diff(dim=0) > 5).all()
    torch.testing.assert_close(found[BOUND][:, 1:], alone[BOUND], rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(found["ridge"][:, 1:], alone["ridge"], atol=0.02, rtol=0)


@pytest.mark.parametrize("protocol", ["inductive", "transductive"])
def test_the_supervised_network_learns_digits(protocol: Protocol) -> None:
    held_out = replace(HELD_OUT, protocol=protocol)
    found = train_supervised(digits(), held_out, 16, range(3), (0, 150), rate=3e-3)
    before, after = found["accuracy"].mean(-1)
    assert before < 0.35
    assert after > 0.75


@pytest.mark.slow
def test_a_prototypical_network_learns_glyphs_in_their_own_order() -> None:
    training, validation = GlyphTasks(side=8).load("glyphs", None)
    assert validation is not None
    sides = []
    for tasks in (training, validation):
        labels = torch.repeat_interleave(
            torch.arange(tasks.images.n_classes), tasks.images.class_sizes
        )
        used = torch.isin(labels, torch.as_tensor(tasks.pool))
        sides.append(Classes(tasks.images.images.flatten(1)[used], labels[used], 1 / 255))
    tests = {"intact": (sides[1], False), "permuted": (sides[1], True)}
    found = train_prototypical(sides[0], False, tests, [0, 1], (0, 150), test_episodes=10)
    assert found["intact"].shape == (2, 2)
    (start, learned), (_, permuted) = (of.mean(-1) for of in found.values())
    assert learned > start + 0.03
    assert learned > permuted + 0.02


def test_nearest_means_and_spread_steps() -> None:
    support = torch.tensor([[[[0.0], [2.0]], [[10.0], [10.0]]]])
    query = torch.tensor([[[[3.0]], [[7.0]]]])
    assert nearest_mean(support, query).tolist() == [[[-4.0, -49.0], [-36.0, -9.0]]]
    assert log_spaced(1000) == (0, 10, 30, 100, 300, 1000)
    assert log_spaced(20) == (0, 10, 20)
