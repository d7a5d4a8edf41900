"""What every learner promises, as checks that a learner of one's own can be given to as well.

Shapes: T tasks, B examples, N_0 inputs, C target columns.
"""

from collections.abc import Callable
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor

from lit_lul.files.theta import described, load_learner, save_learner, stored_settings
from lit_lul.learners import Batch, Learner, State
from lit_lul.networks import Network
from lit_lul.trees import Tree, map_tensors, tensors_of

TASKS, EXAMPLES, STEPS = 3, 8, 2


class Case(NamedTuple):
    """A learner in float64, and a network that it trains."""

    learner: Learner
    network: Network
    gradient_steps: int = STEPS
    """Inner steps that the gradient of θ is exact over."""


def batches(case: Case, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Batch]:
    """A minibatch for each inner step, with targets if the learner takes them."""
    generator = torch.Generator().manual_seed(seed)
    shape = (STEPS, TASKS, EXAMPLES, case.network.inputs)
    inputs = torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)
    classes = torch.randint(case.network.outputs, shape[:3], generator=generator)
    targets = torch.eye(case.network.outputs, dtype=dtype)[classes]
    labelled = case.learner.learns_from != "unlabelled"
    return [Batch(x, y if labelled else None) for x, y in zip(inputs, targets, strict=True)]


def start(case: Case, tasks: int = TASKS) -> State:
    """The state of new tasks."""
    return case.learner.start(case.network, tasks, torch.Generator().manual_seed(1))


def train(case: Case, state: State, steps: list[Batch]) -> State:
    """The state after inner steps."""
    for batch in steps:
        state = case.learner(case.network, state, batch)
    return state


def end(case: Case) -> State:
    """The state after the inner steps of `batches`."""
    with torch.no_grad():
        return train(case, start(case), batches(case))


def same(one: Tree, other: Tree) -> bool:
    """Whether trees are equal, bit for bit."""
    pairs = zip(tensors_of(one), tensors_of(other), strict=True)
    return all(n == m and torch.equal(a, b) for (n, a), (m, b) in pairs)


def close(one: Tree, other: Tree) -> None:
    """Check that trees are equal to rounding."""
    for (name, a), (_, b) in zip(tensors_of(one), tensors_of(other), strict=True):
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]


def pick(tree: Tree, tasks: Tensor) -> Tree:
    """The part of some tasks."""
    return map_tensors(lambda tensor: tensor[tasks], tree)


def check_state(case: Case) -> None:
    """A state is a tree of tensors, tasks first, whose form and shapes stay the same."""
    first, last = start(case), end(case)
    forms = [
        [(name, tensor.shape, tensor.dtype) for name, tensor in tensors_of(state)]
        for state in (first, last)
    ]
    assert forms[0] == forms[1]
    assert forms[0] and all(shape[0] == TASKS for _, shape, _ in forms[0])
    leaves: list[str] = []
    _count_leaves(last, leaves)
    assert leaves == ["Tensor"] * len(forms[0])
    (x, _), *_ = batches(case)
    u = case.network.embed(case.learner.parameters_of(last), x)
    assert u.shape[:2] == (TASKS, EXAMPLES) and u.isfinite().all()


def _count_leaves(tree: Tree, leaves: list[str]) -> None:
    if isinstance(tree, dict | tuple | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            _count_leaves(part, leaves)
    else:
        leaves.append("Tensor" if isinstance(tree, Tensor) else type(tree).__name__)


def check_determinism(case: Case) -> None:
    """Equal seeds give equal states, also while gradients are kept; the seed matters or θ does."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        one = end(case)
        torch.manual_seed(8)
        other = end(case)
    assert same(one, other)
    close(map_tensors(Tensor.detach, train(case, start(case), batches(case))), one)


def check_tasks_are_independent(case: Case) -> None:
    """A task's data changes no other task; tasks may be reordered, and taken one by one."""
    state, steps, whole = start(case), batches(case), end(case)
    with torch.no_grad():
        others = batches(case, seed=9)
        changed = [
            Batch(
                torch.cat([a.x[:1], b.x[1:]]),
                None if a.y is None or b.y is None else torch.cat([a.y[:1], b.y[1:]]),
            )
            for a, b in zip(steps, others, strict=True)
        ]
        first = torch.tensor([0])
        close(pick(train(case, state, changed), first), pick(whole, first))
        for tasks in (torch.tensor([2, 0, 1]), torch.tensor([1])):
            parts = [Batch(*pick(tuple(batch), tasks)) for batch in steps]
            close(train(case, pick(state, tasks), parts), pick(whole, tasks))


def check_dtype(case: Case) -> None:
    """States, φ included, have the dtype of θ."""
    for dtype in (torch.float32, torch.float64):
        case.learner.to(dtype)
        with torch.no_grad():
            state = train(case, start(case), batches(case, dtype=dtype))
        assert {tensor.dtype for _, tensor in tensors_of(state)} == {dtype}


def check_device(case: Case, device: str = "meta") -> None:
    """Steps stay on the device of θ, without a look at values."""
    state, steps = start(case), batches(case)
    case.learner.to(device)
    given = [state, list(map(tuple, steps))]
    moved = map_tensors(lambda tensor: tensor.detach().to(device), given)
    no_autocast = mock.patch("torch.autocast", return_value=nullcontext())  # meta has none
    with torch.no_grad(), no_autocast if device == "meta" else nullcontext():
        last = train(case, moved[0], [Batch(*batch) for batch in moved[1]])
    assert {tensor.device.type for _, tensor in tensors_of(last)} == {device}


def check_file(case: Case, folder: Path) -> None:
    """θ comes back from its file alone, with its class and settings."""
    path = folder / "theta.safetensors"
    save_learner(case.learner, path)
    loaded = load_learner(path)
    assert type(loaded) is type(case.learner) and loaded.settings == case.learner.settings
    assert stored_settings(path) == described(case.learner)
    theta = case.learner.state_dict()
    assert theta.keys() == loaded.state_dict().keys()
    assert all(torch.equal(theta[k].float(), v) for k, v in loaded.float().state_dict().items())


def check_resume(case: Case) -> None:
    """A state goes through a file that is loaded without unpickling, and on, bit for bit."""
    first, *further = batches(case)
    with torch.no_grad():
        half = train(case, start(case), [first])
        file = BytesIO()
        torch.save(half, file)
        file.seek(0)
        resumed = train(case, torch.load(file, weights_only=True), further)
    assert same(resumed, end(case))


def check_gradient(case: Case) -> None:
    """The gradient of θ through steps agrees with finite differences, and θ matters."""
    parameters = list(case.learner.parameters())
    steps = batches(case)[: case.gradient_steps]
    x = batches(case, seed=3)[0].x
    generator = torch.Generator().manual_seed(4)
    weigh: list[Tensor] = []

    def loss() -> Tensor:
        state = train(case, start(case), steps)
        u = case.network.embed(case.learner.parameters_of(state), x)
        if not weigh:
            weigh.append(torch.randn(u.shape, generator=generator, dtype=u.dtype))
        return (u * weigh[0]).sum()

    gradients = torch.autograd.grad(loss(), parameters, materialize_grads=True)
    size = torch.stack([g.norm() for g in gradients]).norm()
    assert size.isfinite() and size > 0
    for _ in range(2):
        along = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        length = torch.stack([d.norm() for d in along]).norm()
        along = [d / length for d in along]
        expected = sum((g * d).sum() for g, d in zip(gradients, along, strict=True))
        there, back = (_moved(parameters, along, far, loss) for far in (1e-6, -1e-6))
        found = (there - back) / 2e-6
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(size))


def _moved(
    parameters: list[torch.nn.Parameter],
    along: list[Tensor],
    far: float,
    loss: Callable[[], Tensor],
) -> Tensor:
    """The loss at θ moved along a direction."""
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, d in zip(parameters, along, strict=True):
            p.add_(far * d)
        value = loss()
        for p, b in zip(parameters, before, strict=True):
            p.copy_(b)
    return value


CHECKS: dict[str, Callable[[Case], None]] = {
    "state": check_state,
    "determinism": check_determinism,
    "independent tasks": check_tasks_are_independent,
    "dtype": check_dtype,
    "device": check_device,
    "resume": check_resume,
    "gradient": check_gradient,
}
"""All checks but that of the file, which needs a folder."""


def check_learner(make: Callable[[], Case], folder: Path) -> None:
    """All checks, each of a learner made anew."""
    for check in CHECKS.values():
        check(make())
    check_file(make(), folder)
