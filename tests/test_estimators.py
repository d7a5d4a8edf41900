"""Estimators on a linear learner whose exact gradient is known and whose truncated one is wrong."""

import io
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from lit_lul.estimators import Estimator, Outcome, PersistentES, TruncatedBackprop, Truncation
from lit_lul.estimators.persistent_es import call_at
from lit_lul.estimators.truncated_backprop import advance, flatten
from lit_lul.learners.learner import Batch, Learner, State
from lit_lul.networks.network import Activations, Network, Params
from lit_lul.objectives.objective import Labelled, Objective, Score
from lit_lul.trees import tensors_of

UNITS, TASKS, TRUNCATIONS = 6, 2, 6
NOISES: list[Any] = ["persistent", "episode", "truncated"]
ESTIMATORS = [TruncatedBackprop(), *(PersistentES(noise=noise, pairs=2) for noise in NOISES)]


@dataclass(frozen=True)
class _Points(Network):
    """φ is a point of each task; the network computes nothing."""

    inputs: int = 1
    outputs: int = UNITS
    cost: float = field(default=1.0, init=False)

    def init(
        self, tasks: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        return torch.randn(tasks, UNITS, generator=generator, dtype=dtype)

    def activations(self, params: Params, x: Tensor, statistics: Any = None) -> Activations:
        return Activations((x,), (x,))

    def statistics(self, params: Params, x: Tensor) -> None:
        return None


class _Balance(Learner):
    """Every unit follows the one above it; θ pushes the first unit up and all others down.

    So a larger push raises the first unit in a few steps, and lowers it in more (the influence
    balancing of Tallec and Ollivier 2017).
    """

    settings_class = dict

    def __init__(self) -> None:
        super().__init__({})
        self.push = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
        self.first = nn.Parameter(torch.tensor([0.2], dtype=torch.float64))

    @property
    def embedding_units(self) -> int:
        return UNITS

    def start(self, network: Network, tasks: int, generator: torch.Generator) -> State:
        return {"params": network.init(tasks, generator) + self.first, "first": self.first}

    def step(self, network: Network, state: State, batch: Batch) -> State:
        h = state["params"]
        above = torch.cat([h[:, 1:], torch.zeros_like(h[:, :1])], dim=1)
        signs = -torch.ones_like(h[0])
        signs[0] = 1.0
        return state | {
            "params": (h + above) / 2 + self.push * signs + batch.x.mean((1, 2))[:, None]
        }


class _Distance(Objective):
    """Half the squared distance of the first unit from a target."""

    def __call__(self, network: Network, params: Params, labelled: Labelled) -> Score:
        loss = (params[:, 0] - labelled.query_y[0, :, 0, 0]).square() / 2
        return Score(loss, (loss < 1).to(loss.dtype))


def make_truncation(numbers: list[int], noise_seed: int = 0) -> Truncation:
    """One that is these, of one inner step each, put together."""
    batches = []
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        batches.append(Batch(torch.randn(TASKS, 3, 1, generator=generator, dtype=torch.float64)))
    x = torch.zeros(1, TASKS, 1, 1, dtype=torch.float64)
    every = torch.ones(TASKS, 1, dtype=torch.bool)
    labelled = Labelled(x, x, x, x + 3.0, every, every)
    return Truncation(_Points(), TASKS, batches, labelled, start_seed=7, noise_seed=noise_seed)


def run_all(estimator: Estimator, seed: int = 0, learner: Learner | None = None) -> Outcome:
    """The last of several truncations of one inner step."""
    learner = learner or _Balance()
    carry = None
    for number in range(TRUNCATIONS):
        truncation = make_truncation([number], TRUNCATIONS * seed + number)
        outcome = estimator(learner, _Distance(), carry, truncation)
        carry = outcome.carry
    return outcome


def moved_by(step: Tensor) -> _Balance:
    """A learner with θ and a step added."""
    learner = _Balance()
    vector_to_parameters(flatten(learner.parameters()).detach() + step, learner.parameters())
    return learner


def exact_gradient() -> Tensor:
    """The gradient of the loss after all steps, in one truncation."""
    whole = make_truncation(list(range(TRUNCATIONS)))
    return TruncatedBackprop()(_Balance(), _Distance(), None, whole).gradient


def sample_gradients(noise: Any, count: int = 300) -> tuple[Tensor, Tensor]:
    """Mean over many seeds, and its standard error."""
    estimator = PersistentES(noise=noise)
    samples = torch.stack([run_all(estimator, seed).gradient for seed in range(count)])
    return samples.mean(0), samples.std(0) / count**0.5


def test_truncated_backprop_is_biased_here() -> None:
    exact, truncated = exact_gradient(), run_all(TruncatedBackprop()).gradient
    assert exact[0] * truncated[0] < 0  # it would move θ the wrong way
    assert truncated[1] == 0 and exact[1].abs() > 0.1


@pytest.mark.parametrize("noise", ["persistent", "episode"])
def test_es_sees_past_the_truncation(noise: Any) -> None:
    mean, error = sample_gradients(noise)
    assert ((mean - exact_gradient()).abs() < 3 * error).all()
    biased = run_all(TruncatedBackprop()).gradient
    assert ((mean - biased).abs() > 4 * error).any()


def test_truncated_es_has_the_gradient_of_the_truncation() -> None:
    mean, error = sample_gradients("truncated")
    truncated = run_all(TruncatedBackprop()).gradient
    assert ((mean - truncated).abs() <= 3 * error + 1e-9).all()
    assert (mean[0] - exact_gradient()[0]).abs() > 4 * error[0]


def test_whole_unroll_of_new_tasks_is_ordinary_es() -> None:
    whole = make_truncation(list(range(TRUNCATIONS)))
    outcomes = [
        PersistentES(std=0.1, pairs=3, noise=noise)(_Balance(), _Distance(), None, whole)
        for noise in NOISES
    ]
    noise = outcomes[0].carry["noise"]
    expected = (noise * (noise @ exact_gradient())[:, None]).mean(0) / 0.1**2  # L is quadratic
    for outcome in outcomes:
        torch.testing.assert_close(outcome.gradient, expected)


def test_persistent_es_is_the_formula() -> None:
    estimator, learner = PersistentES(std=0.1, pairs=2), _Balance()
    first, second = make_truncation([0], 1), make_truncation([1], 2)
    before = estimator(learner, _Distance(), None, first)
    after = estimator(learner, _Distance(), before.carry, second)
    sums = after.carry["noise"]
    steps = [before.carry["noise"], sums - before.carry["noise"]]
    losses = []
    for pair, sign in [(0, 1), (0, -1), (1, 1), (1, -1)]:
        outcome = before
        for truncation, step in zip((first, second), steps, strict=True):
            carry = None if truncation is first else outcome.carry
            particle = moved_by(sign * step[pair])
            outcome = TruncatedBackprop()(particle, _Distance(), carry, truncation)
        losses.append(outcome.score.loss.mean())
    plus, minus = torch.stack(losses[::2]), torch.stack(losses[1::2])
    expected = (sums * (plus - minus)[:, None]).sum(0) / (2 * 0.1**2 * 2)
    torch.testing.assert_close(after.gradient, expected)
    torch.testing.assert_close(after.score.loss.mean(), torch.stack(losses).mean())
    assert after.score.loss.shape == after.score.accuracy.shape == (TASKS,)


def test_one_noise_per_episode_is_kept() -> None:
    estimator, learner = PersistentES(noise="episode"), _Balance()
    first = estimator(learner, _Distance(), None, make_truncation([0], 1))
    second = estimator(learner, _Distance(), first.carry, make_truncation([1], 2))
    assert torch.equal(first.carry["noise"], second.carry["noise"])
    again = estimator(learner, _Distance(), None, make_truncation([0], 2))
    assert not torch.equal(again.carry["noise"], first.carry["noise"])


def test_truncated_es_advances_its_state_with_theta_itself() -> None:
    state = run_all(TruncatedBackprop()).carry
    (shared,) = run_all(PersistentES(noise="truncated", pairs=2)).carry["states"]
    assert torch.equal(shared["params"], state["params"])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_carry_survives_a_file_without_pickled_classes(estimator: Estimator) -> None:
    learner = _Balance()
    first = estimator(learner, _Distance(), None, make_truncation([0], 1))
    file = io.BytesIO()
    torch.save(first.carry, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    outcomes = [
        estimator(learner, _Distance(), carry, make_truncation([1], 2))
        for carry in (first.carry, loaded)
    ]
    for ours, theirs in zip(*(tensors_of(tuple(o)) for o in outcomes), strict=True):
        assert ours[0] == theirs[0] and torch.equal(ours[1], theirs[1])
    assert not any(tensor.requires_grad for _, tensor in tensors_of(tuple(outcomes[0])))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_theta_is_left_alone_and_carry_is_apart_from_it(estimator: Estimator) -> None:
    learner = _Balance()
    parameters = dict(learner.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    carry = run_all(estimator, learner=learner).carry
    for name, parameter in learner.named_parameters():
        assert parameter is parameters[name] and parameter.grad is None
        assert parameter.requires_grad and torch.equal(parameter, before[name])
    kept = [tensor.clone() for _, tensor in tensors_of(carry)]
    with torch.no_grad():
        learner.first.add_(1.0)  # as an optimizer does; `first` is in the state as it is
    for (_, tensor), copy in zip(tensors_of(carry), kept, strict=True):
        assert torch.equal(tensor, copy)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_loss_that_is_not_finite_gives_such_a_gradient(estimator: Estimator) -> None:
    truncation = make_truncation([0])
    for value in (torch.nan, torch.inf):
        truncation.labelled.query_y[0, 1] = value
        outcome = estimator(_Balance(), _Distance(), None, truncation)
        assert not outcome.gradient.isfinite().all()
        assert not outcome.score.loss[1].isfinite() and outcome.score.loss[0].isfinite()


def test_gradient_flows_into_a_start_that_depends_on_theta() -> None:
    objective, truncation = _Distance(), make_truncation([0, 1])
    gradient = TruncatedBackprop()(_Balance(), objective, None, truncation).gradient
    high, low = (
        TruncatedBackprop()(
            moved_by(torch.tensor([0.0, shift], dtype=torch.float64)), objective, None, truncation
        ).score.loss.mean()
        for shift in (1e-4, -1e-4)
    )
    torch.testing.assert_close(gradient[1], (high - low) / 2e-4)


def test_gradient_stops_at_the_truncation() -> None:
    learner = _Balance()
    carry = advance(learner, None, make_truncation([0]))
    assert carry["params"].requires_grad  # a history that the estimator must not follow
    gradient = TruncatedBackprop()(learner, _Distance(), carry, make_truncation([1])).gradient
    assert gradient[0] != 0 and gradient[1] == 0


@pytest.mark.parametrize(("every", "scored"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_loss_along_the_unroll_is_the_mean_of_its_scores(every: int, scored: list[int]) -> None:
    batches = list(range(5))
    outcome = TruncatedBackprop(score_every=every)(
        _Balance(), _Distance(), None, make_truncation(batches)
    )
    parts = [
        TruncatedBackprop()(_Balance(), _Distance(), None, make_truncation(batches[:steps]))
        for steps in scored
    ]
    mean = torch.stack([part.gradient for part in parts]).mean(0)
    torch.testing.assert_close(outcome.gradient, mean)
    assert torch.equal(outcome.score.loss, parts[-1].score.loss)


def test_call_at_differentiates_with_respect_to_theta() -> None:
    truncation = make_truncation([0, 1, 2])

    def loss(theta: Tensor) -> Tensor:
        state = call_at(_Balance(), theta, advance, None, truncation)
        return _Distance()(truncation.network, state["params"], truncation.labelled).loss.mean()

    theta = flatten(_Balance().parameters()).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(theta), theta)
    expected = TruncatedBackprop()(_Balance(), _Distance(), None, truncation).gradient
    torch.testing.assert_close(gradient, expected)
