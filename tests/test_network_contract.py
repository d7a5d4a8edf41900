"""Every network keeps the contract of networks: what learners, objectives and files count on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.networks import (
    MLP,
    CompetitiveNetwork,
    CompetitiveNetworks,
    ConvNet,
    ConvNets,
    Linear,
    LinearHeadMLP,
    LinearHeadMLPs,
    Linears,
    MLPs,
    Network,
    Networks,
    Params,
    RowNetwork,
)
from lit_lul.networks.network import Readout
from lit_lul.trees import map_tensors, tensors_of

TASKS, EXAMPLES = 3, 7
NETWORKS: list[Network] = [
    MLP((9, 6, 4)),
    MLP((9, 6, 5, 4), "tanh", batch_norm=False, readout=Readout.ALL),
    LinearHeadMLP((9, 6, 4)),
    CompetitiveNetwork(9, 4, 12),
    ConvNet(9, 4, channels=3, blocks=2),
    ConvNet(27, 4, channels=3, blocks=1, image_channels=3),
    Linear(9, 4),
]
SETS: list[Networks] = [
    MLPs((1, 2), (4, 6)),
    LinearHeadMLPs([5]),
    CompetitiveNetworks((3, 5)),
    ConvNets(3, 2),
    Linears(),
]
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda n: type(n).__name__)


def classes(parent: type[Any]) -> Iterator[type[Any]]:
    """All classes of the package below one that can be made."""
    for child in parent.__subclasses__():
        yield from classes(child)
        if child.__module__.startswith("lit_lul.") and not child.__abstractmethods__:
            yield child


def phi(network: Network, seed: int = 0, dtype: torch.dtype = torch.float64) -> Params:
    """φ whose tensors are not the small ones, or zeros, of a start."""
    generator = torch.Generator().manual_seed(seed)
    drawn = network.init(TASKS, generator, dtype)
    return map_tensors(
        lambda t: t + 0.1 * torch.rand(t.shape, generator=generator, dtype=dtype), drawn
    )


def inputs(network: Network, *shape: int) -> Tensor:
    """Examples (*shape, N_0)."""
    generator = torch.Generator().manual_seed(3)
    return torch.rand(*shape, network.inputs, generator=generator, dtype=torch.float64)


def test_every_network_is_under_contract() -> None:
    assert {type(network) for network in NETWORKS} == set(classes(Network))
    assert {type(networks) for networks in SETS} == set(classes(Networks))


@every_network
def test_init_has_tasks_first_and_follows_its_seed(network: Network) -> None:
    for dtype in (torch.float32, torch.float64):
        one, same, other = (
            dict(tensors_of(network.init(TASKS, torch.Generator().manual_seed(seed), dtype)))
            for seed in (0, 0, 1)
        )
        assert all(t.shape[0] == TASKS and t.dtype == dtype for t in one.values())
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)
        assert any(not torch.equal(tensor[0], tensor[1]) for tensor in one.values())


@every_network
def test_layers_and_embedding_have_their_shapes(network: Network) -> None:
    assert network.cost > 0 and network == type(network)(**vars(network))
    params = phi(network)
    for lead in ((), (2,)):
        x = inputs(network, *lead, TASKS, EXAMPLES)
        found = network.activations(params, x)
        assert torch.equal(found.x[0], x) and torch.equal(found.z[0], x)
        assert len(found.x) == len(found.z)
        assert {layer.shape[:-1] for layer in (*found.x, *found.z)} == {x.shape[:-1]}
        u = network.embed(params, x)
        assert u.shape[:-1] == x.shape[:-1] and u.dtype == x.dtype and u.isfinite().all()
        if not isinstance(network, RowNetwork):
            assert u.shape[-1] == network.outputs


@every_network
def test_statistics_embed_other_examples(network: Network) -> None:
    params, x = phi(network), inputs(network, TASKS, EXAMPLES)
    statistics = network.statistics(params, x)
    assert all(tensor.shape[0] == TASKS for _, tensor in tensors_of(statistics))
    whole = network.embed(params, x)
    torch.testing.assert_close(network.embed(params, x, statistics), whole)
    torch.testing.assert_close(network.embed(params, x[:, :2], statistics), whole[:, :2])


@every_network
def test_tasks_are_independent(network: Network) -> None:
    params, x = phi(network), inputs(network, TASKS, EXAMPLES)
    whole = network.embed(params, x)
    for tasks in (torch.tensor([2, 0, 1]), torch.tensor([1])):
        part = map_tensors(lambda t, tasks=tasks: t[tasks], params)  # type: ignore[misc]
        torch.testing.assert_close(network.embed(part, x[tasks]), whole[tasks])
    changed = torch.cat([x[:1], 1 - x[1:]])
    torch.testing.assert_close(network.embed(params, changed)[:1], whole[:1])


@pytest.mark.parametrize(
    "network",
    [network for network in NETWORKS if isinstance(network, RowNetwork)],
    ids=lambda network: type(network).__name__,
)
def test_networks_of_rows_do_not_depend_on_the_order_of_inputs(network: RowNetwork) -> None:
    params, x = phi(network), inputs(network, TASKS, EXAMPLES)
    order = torch.stack([torch.randperm(network.inputs) for _ in range(TASKS)])
    moved = x.gather(-1, order.unsqueeze(1).expand(x.shape))
    embedded = network.embed(params, x)
    reordered = network.embed(network.reordered(params, order), moved)
    first = network.inputs if network.readout is Readout.ALL else 0  # read out as they are
    torch.testing.assert_close(reordered[..., first:], embedded[..., first:])
    assert embedded.shape[-1] == network.embedding_width
    assert network.receptive_fields(params).shape[:2] == (TASKS, network.inputs)
    shared = x[:1].expand(x.shape)
    found = network.statistics_of_chunks(params, x[0].split([3, 4]))
    whole = network.embed(params, shared)
    torch.testing.assert_close(network.embed(params, shared, found), whole)


@pytest.mark.parametrize("networks", SETS, ids=lambda networks: type(networks).__name__)
def test_sets_are_sorted_by_cost(networks: Networks) -> None:
    found = [networks.at(quantile, 9, 4) for quantile in (0.0, 0.3, 0.6, 0.99)]
    assert {(network.inputs, network.outputs) for network in found} == {(9, 4)}
    costs = [network.cost for network in found]
    assert costs == sorted(costs)
    assert networks.at(0.6, 9, 4) == found[2], "the same every time"


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (lambda: MLP((5,)), "sizes"),
        (lambda: MLP((5, 0, 3)), "sizes"),
        (lambda: MLP((5, 3), "gelu"), "gelu"),  # type: ignore[arg-type]
    ],
)
def test_networks_that_cannot_be_are_named(make: Callable[[], Network], culprit: str) -> None:
    with pytest.raises(InvalidInput, match=culprit):
        make()
