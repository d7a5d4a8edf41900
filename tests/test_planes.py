"""The update rule: planes are declared once, forms differ by settings alone, tasks are apart."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch
from lit_lul.learners.metz import PAPER, UnsupervisedUpdate, UpdateSettings
from lit_lul.learners.metz.algorithm import UpdateState
from lit_lul.learners.metz.planes import PLANES, Signals, plane
from lit_lul.networks.mlp import ACTIVATIONS, MLP
from lit_lul.networks.network import Network
from lit_lul.trees import map_tensors, tensors_of

NETWORK = MLP((5, 4, 3), "tanh")


def make_rule(**settings: Any) -> UnsupervisedUpdate:
    """A tiny rule in float64, every parameter of which matters."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_channels": 4,
        "error_channels": 3,
        "top_channels": 3,
        "readout_channels": 2,
        "embedding_units": 3,
        "inner_rate": 0.1,
    }
    rule = UnsupervisedUpdate(UpdateSettings(**sizes | settings)).double()
    generator = torch.Generator().manual_seed(5)
    for parameter in rule.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data.add_(0.3 * noise)
    return rule


def make_data(rule: UnsupervisedUpdate, tasks: int) -> tuple[UpdateState, Tensor]:
    """A state and a minibatch of every task."""
    generator = torch.Generator().manual_seed(4)
    state: UpdateState = map_tensors(lambda p: 10 * p, rule.start(NETWORK, tasks, generator))
    return state, torch.rand(tasks, 6, 5, generator=generator, dtype=torch.float64)


def flat(state: UpdateState) -> Tensor:
    """All numbers of a state."""
    return torch.cat([tensor.flatten() for _, tensor in tensors_of(state)])


def test_theta_keeps_the_order_of_the_planes() -> None:
    assert [(name, p.readout) for name, p in PLANES.items()] == [
        ("w_base", None),
        ("large_decay", None),
        ("zero_order", "between"),
        ("rbf", "between"),
        ("first_order", "between"),
        ("hebb", None),
        ("lin_lower_sym", "lower"),
        ("sqr_lower_sym", "lower"),
        ("lin_upper_sym", "upper"),
        ("sqr_upper_sym", "upper"),
        ("lin_upper_psd", "semidefinite"),
        ("decorr_x", None),
    ]
    assert UpdateSettings(planes=["hebb", "w_base"]).plane_names == ("w_base", "hebb")
    assert UpdateSettings(**PAPER).plane_names == tuple(PLANES)[:10]


def test_a_plane_is_declared_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    before = make_rule()
    monkeypatch.setitem(PLANES, "cube", PLANES["hebb"])  # so that it is gone after the test

    @plane("upper")
    def cube(s: Signals, low_rank: Tensor) -> Tensor:
        """Cubes of weights, mixed by a learned similarity."""
        return s.w**3 @ low_rank

    rule = make_rule(planes=[*before.settings.planes, "cube"])
    assert len(rule.merge) == len(before.merge) + 1
    two_readouts = 2 * rule.settings.readout_channels
    assert len(rule.readouts.weight) == len(before.readouts.weight) + two_readouts
    state, x = make_data(rule, tasks=2)
    silent = make_rule(planes=rule.settings.planes)
    silent.merge.data[-1] = 0.0
    outcomes = [flat(r.step(NETWORK, state, Batch(x))) for r in (rule, silent)]
    assert (outcomes[0] - outcomes[1]).abs().max() > 1e-6


@pytest.mark.parametrize("name", PAPER)
def test_every_difference_between_the_forms_is_a_setting_of_its_own(name: str) -> None:
    rules = [make_rule(), make_rule(**{name: PAPER[name]})]
    state, x = make_data(rules[0], tasks=1)
    outcomes = [flat(rule.step(NETWORK, state, Batch(x))) for rule in rules]
    assert (outcomes[0] - outcomes[1]).abs().max() > 1e-9
    assert getattr(rules[1].settings, name) == PAPER[name]


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that an operation returns."""

    def __init__(self) -> None:
        # torch leaves this constructor without types
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(result) if isinstance(t, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.parametrize(("form", "updates"), [({}, 1), (PAPER, 2)])
def test_planes_do_not_exist_at_once(form: dict[str, Any], updates: int) -> None:
    rule, wide = make_rule(**form), MLP((5, 200, 200, 3))
    state = rule.start(wide, 1, torch.Generator().manual_seed(0))
    with torch.no_grad(), Largest() as largest:
        rule.step(wide, state, Batch(torch.rand(1, 2, 5, dtype=torch.float64)))
    assert largest.elements == updates * 200 * 200, "W, or W and V"


def test_a_start_is_the_networks_own_and_the_generator_decides_it() -> None:
    rule = make_rule()
    one, again = (rule.start(NETWORK, 2, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(flat(one), flat(again))
    assert flat(one).dtype == rule.merge.dtype
    alone = NETWORK.init(2, torch.Generator().manual_seed(1), torch.float64)
    for (_, ours), (_, theirs) in zip(tensors_of(one["params"]), tensors_of(alone), strict=True):
        assert torch.equal(ours, theirs)
    v, w = one["backward_weights"][0], one["params"]["weights"][0]
    assert v.shape == w.shape and v.abs().max() <= 0.02 and not torch.equal(v, w)


@pytest.mark.parametrize("error_norm", ["unit", "tensor"])
def test_hidden_states_stay_in_the_type_of_autocast(
    error_norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = torch.rsqrt
    # autocast of a GPU gives float32 here, that of the CPU does not
    monkeypatch.setattr(torch, "rsqrt", lambda x: exact(x.float()))
    rule = make_rule(error_norm=error_norm).float()
    state, x = make_data(rule, tasks=2)
    with torch.autocast("cpu", torch.bfloat16):
        activations = NETWORK.activations(state["params"], x.float())
        d, h = rule.propagate(state, activations)
    assert {hidden.dtype for hidden in h} == {torch.bfloat16}
    assert [signal.dtype for signal in d] == [torch.bfloat16, torch.bfloat16, torch.float32]


def test_every_activation_runs() -> None:
    rule = make_rule()
    state, x = make_data(rule, tasks=1)
    outcomes = [flat(rule.step(MLP((5, 4, 3), name), state, Batch(x))) for name in ACTIVATIONS]
    assert all(outcome.isfinite().all() for outcome in outcomes)
    assert len(torch.unique(torch.stack(outcomes), dim=0)) == len(ACTIVATIONS)


class Convolutional(Network):
    """A network without the matrices that the rule reads."""

    inputs, outputs, cost = 5, 3, 1.0

    def init(self, *_: Any) -> Any:
        """Never called."""
        raise NotImplementedError

    def activations(self, *_: Any) -> Any:
        """Never called."""
        raise NotImplementedError

    def statistics(self, *_: Any) -> Any:
        """Never called."""
        raise NotImplementedError


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (MLP((5, 3, 4)), "embedding of 4 units: UnsupervisedUpdate expects 3"),
        (Convolutional(), "network Convolutional: UnsupervisedUpdate expects an MLP"),
    ],
)
def test_a_network_that_does_not_fit_is_named(network: Network, message: str) -> None:
    rule = make_rule()
    rule.check(NETWORK)
    with pytest.raises(InvalidInput, match=message):
        rule.check(network)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"planes": ["hebb", "oja"]}, "oja"),
        ({"planes": ["hebb", "hebb"]}, "planes"),
        ({"planes": []}, "planes"),
        ({"hidden_channels": 0}, r"^UpdateSettings\.hidden_channels must be at least 1, got 0$"),
        ({"hebb": "products"}, "hebb must be one of covariance, correlation, got 'products'"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        UpdateSettings(**settings)
