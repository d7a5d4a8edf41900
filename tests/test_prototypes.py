"""The rule of prototypes and its network: what the layers find, and what they give out."""

import sys
from pathlib import Path

import prototypes
import pytest
import torch
from torch import Tensor

from lit_lul.apply.rule import apply_rule
from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch
from lit_lul.learners.local.prototypes import (
    PrototypeRule,
    PrototypeSettings,
    PrototypeState,
    occupy,
)
from lit_lul.networks.competitive import (
    WINNERS,
    CompetitiveNetwork,
    CompetitiveNetworks,
    shares,
    squared_distances,
)
from lit_lul.networks.conv import ConvNet
from lit_lul.networks.mlp import MLP
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Labelled
from lit_lul.trees import tensors_of

NETWORK = CompetitiveNetwork(inputs=6, outputs=3, prototypes=12)
CENTRES = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
ROWS = torch.rand(40, 6, generator=torch.Generator().manual_seed(1))


def make_rule(components: int = 3) -> PrototypeRule:
    return PrototypeRule(PrototypeSettings(embedding_units=components)).double()


def start(rule: PrototypeRule, network: CompetitiveNetwork, tasks: int = 2) -> PrototypeState:
    return rule.start(network, tasks, torch.Generator().manual_seed(4))


def rows(seed: int, tasks: int = 2, n: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(tasks, n, 6, generator=generator, dtype=torch.float64)


def train(
    rule: PrototypeRule, network: CompetitiveNetwork, batches: list[Tensor]
) -> PrototypeState:
    state = start(rule, network, len(batches[0]))
    with torch.no_grad():
        for x in batches:
            state = rule(network, state, Batch(x))
    return state


def blobs(seed: int, n: int = 64) -> tuple[Tensor, Tensor]:
    """Rows (1, n, 2) close to one of four centres, and which."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(4, (n,), generator=generator)
    noise = 0.05 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return (CENTRES[which] + noise)[None], which


def test_components_find_the_principal_subspace() -> None:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.linalg.qr(torch.randn(10, 10, generator=generator, dtype=torch.float64)).Q
    scale = torch.tensor([1.0, 0.7, 0.5, *[0.1] * 7], dtype=torch.float64)
    x = (torch.randn(1, 1280, 10, generator=generator, dtype=torch.float64) * scale) @ mixing.T
    rule = make_rule()
    with torch.no_grad():
        rule.scaling.zero_()
    network = CompetitiveNetwork(10, 3, 4)
    w = train(rule, network, list(x.split(64, dim=1)) * 3)["params"]["components"][0]
    explained = (mixing[:, :3].T @ torch.linalg.qr(w).Q).square().sum() / 3
    assert explained > 0.98
    torch.testing.assert_close(w.T @ w, torch.eye(3, dtype=w.dtype), atol=0.2, rtol=0)


def test_prototypes_find_clusters() -> None:
    network = CompetitiveNetwork(2, 1, 4)
    state = train(make_rule(1), network, [blobs(seed)[0] for seed in range(30)])
    distances = torch.cdist(CENTRES, state["params"]["prototypes"][0].T)
    assert (distances.amin(1) < 0.05).all()


def test_inputs_far_from_all_prototypes_are_taken_first() -> None:
    x, ones = rows(2, tasks=1), torch.ones(1, 6, dtype=torch.float64)
    prototypes = x[:, :3].mT.contiguous()  # the first is the first row, the others are free
    taken, wins = occupy(prototypes, torch.tensor([[9.0, 0.0, 0.0]]).double(), x, ones)
    farthest = torch.cdist(x[0], x[0, :1])[:, 0].argsort(descending=True)[:2]
    torch.testing.assert_close(taken[0].T, x[0, [0, *farthest.tolist()]])
    assert wins[0, 0] == 9 and (wins > 0).all()


def test_at_most_a_minibatch_of_prototypes_is_taken_at_once() -> None:
    state = train(make_rule(), NETWORK, [rows(2, n=8)])
    assert ((state["wins"] > 0).sum(-1) == 8).all()
    state = train(make_rule(), NETWORK, [rows(2, n=8), rows(3, n=8)])
    assert (state["wins"] > 0).all()


def test_shares_are_of_the_nearest_whatever_the_density() -> None:
    square = rows(5)
    square = torch.cat([square, square + 0.3], -1)
    share = shares(square)
    torch.testing.assert_close(share.sum(-1), torch.ones_like(share[..., 0]))
    assert ((share > 0).sum(-1) == WINNERS).all()
    assert torch.equal(share.argmax(-1), square.argmin(-1))
    torch.testing.assert_close(shares(100 * square), share)
    assert shares(square[..., :1]).eq(1).all()
    torch.testing.assert_close(shares(square[..., :2]).amax(-1), torch.ones_like(share[..., 0]))


def test_scales_are_those_of_distances() -> None:
    x, prototypes = rows(1), rows(2).mT.contiguous()
    scales = rows(3)[:, 0]
    expected = torch.cdist(x * scales[:, None], (prototypes * scales[..., None]).mT).square()
    torch.testing.assert_close(squared_distances(x, prototypes, scales), expected)


def test_excitation_spreads_within_a_cluster() -> None:
    network = CompetitiveNetwork(2, 1, 80)
    state = train(make_rule(1), network, [blobs(seed)[0] for seed in range(40)])
    params = state["params"]
    of_prototype = torch.cdist(params["prototypes"][0].T, CENTRES).argmin(1)
    same = of_prototype[:, None] == of_prototype
    assert params["lateral"][0][same].sum() > 0.99
    x, which = blobs(99, 200)
    excited = network.activations(params, x).z[3][0]
    still = network.activations({**params, "spread": torch.eye(9)[:1].double()}, x).z[3][0]
    own = of_prototype == which[:, None]
    assert (excited[own] > 0).double().mean() > 2 * (still[own] > 0).double().mean()
    assert excited[~own].sum() < 0.01 * excited.sum()


def test_the_embedding_is_every_layer_by_its_gain() -> None:
    rule = make_rule()
    with torch.no_grad():
        rule.gains.copy_(torch.tensor([2.0, 3.0]))
    state, x = train(rule, NETWORK, [rows(2), rows(3)]), rows(4)
    layers = NETWORK.activations(state["params"], x).x
    assert [layer.shape[-1] for layer in layers] == list(NETWORK.sizes)
    for layer in layers[1:3]:
        torch.testing.assert_close(layer.mean(-2), torch.zeros_like(layer[:, 0]))
        norm = layer.square().sum(-1).mean(-1)
        torch.testing.assert_close(norm, torch.ones_like(norm))
    embedding = NETWORK.embed(state["params"], x)
    assert embedding.shape[-1] == NETWORK.embedding_width == 3 + 12 + 12
    parts = embedding.split((3, 12, 12), dim=-1)
    for part, layer, gain in zip(parts, layers[1:], (2.0, 3.0, 1.0), strict=True):
        torch.testing.assert_close(part, gain * layer)


def test_every_number_of_theta_has_a_gradient() -> None:
    rule = make_rule()
    with torch.no_grad():
        rule.spread.add_(0.1)
    state = start(rule, NETWORK)
    for seed in (5, 6, 9):
        state = rule(NETWORK, state, Batch(rows(seed)))
    y = torch.eye(2, dtype=torch.float64)[torch.arange(16) % 2].expand(1, 2, 16, 2)
    columns = torch.ones(2, 2, dtype=torch.bool)
    labelled = Labelled(rows(7)[None], y, rows(8)[None], y, columns, columns)
    loss = FewShotRidge()(NETWORK, state["params"], labelled).loss.sum()
    named = dict(rule.named_parameters())
    assert sum(p.numel() for p in named.values()) == 18
    for name, gradient in zip(named, torch.autograd.grad(loss, list(named.values())), strict=True):
        assert gradient.isfinite().all() and (gradient != 0).all(), name


def test_the_order_of_inputs_does_not_matter() -> None:
    rule, batches = make_rule(), [rows(2), rows(3)]
    expected = train(rule, NETWORK, batches)["params"]
    order = torch.tensor([[3, 1, 5, 0, 2, 4], [5, 4, 3, 2, 1, 0]])
    state = NETWORK.reordered(start(rule, NETWORK), order)
    with torch.no_grad():
        for x in batches:
            state = rule(NETWORK, state, Batch(x.gather(-1, order.unsqueeze(1).expand(x.shape))))
    found = NETWORK.reordered(rule.parameters_of(state), order.argsort(-1))
    for (name, ours), (_, theirs) in zip(tensors_of(found), tensors_of(expected), strict=True):
        assert torch.allclose(ours, theirs), name


@pytest.mark.parametrize("values", ["constant", "two rows"])
def test_poor_rows_give_finite_features(values: str) -> None:
    x = torch.full((40, 6), 0.5) if values == "constant" else ROWS[:2]
    applied = apply_rule(PrototypeRule(), x, inner_steps=5, batch_size=2)
    assert applied.embeddings.isfinite().all()


def test_an_mlp_stands_for_a_network_of_as_many_units() -> None:
    rule = make_rule()
    network = rule.network_for(MLP((6, 8, 10, 3)))
    assert network == CompetitiveNetwork(6, 3, 9)
    assert rule.network_for(network) is network
    with pytest.raises(InvalidInput, match="expects 3"):
        rule.network_for(MLP((6, 8, 4)))
    for other in (ConvNet(64, 3), MLP((6, 8, 3))):
        with pytest.raises(InvalidInput, match="PrototypeRule expects a CompetitiveNetwork"):
            rule.check(other)


def test_a_configuration_names_bounds_on_the_prototypes() -> None:
    networks = CompetitiveNetworks((10, 13))
    drawn = [networks.at(i / 8, 6, 3).prototypes for i in range(9)]
    assert drawn == [10, 10, 11, 11, 12, 12, 13, 13, 13]
    with pytest.raises(InvalidInput, match=r"prototypes\[0\] must be at most prototypes\[1\]"):
        CompetitiveNetworks((13, 10))


def test_the_example_draws_prototypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "prototypes.png"
    monkeypatch.setattr(sys, "argv", ["prototypes.py", "--out", str(picture)])
    prototypes.main()
    assert picture.stat().st_size > 10_000
