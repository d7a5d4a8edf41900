"""Evolution strategies over truncations: gradients of θ without backpropagation."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lit_lul.constraints import Bounds, PositiveInt
from lit_lul.estimators.estimator import Carry, Estimator, Outcome, Truncation, seeded
from lit_lul.estimators.truncated_backprop import advance, detached_copy, flatten
from lit_lul.learners.learner import Learner, State
from lit_lul.objectives.objective import Objective, Score

Noise = Literal["persistent", "truncated", "episode"]
Result = TypeVar("Result")


@dataclass(frozen=True)
class PersistentES(Estimator):
    """Antithetic evolution strategies with noise that persists over truncations.

    Two particles of a pair run the same truncation with θ + ε and θ - ε, where every element of ε
    is normal with standard deviation σ; all T tasks share ε. The gradient is the mean over the
    pairs of ξ (L₊ - L₋) / 2σ², where L is the mean loss of a particle's tasks; `noise` determines ξ
    and the states that particles start from. If a loss is not finite, neither is the gradient. The
    score is the mean over all particles.
    """

    std: Annotated[float, Bounds(gt=0, lt=math.inf)] = 0.01
    """σ, the standard deviation of ε, in units of θ."""
    pairs: PositiveInt = 1
    """Pairs of particles; a truncation costs twice as many unrolls."""
    noise: Noise = "persistent"
    """`persistent`: a new ε for every truncation; particles keep their states between truncations,
    and ξ is the sum of their ε since the tasks began, which removes the bias of truncation (Vicol,
    Metz and Sohl-Dickstein 2021, PES). `episode`: one ε until the tasks end, and ξ is that ε, which
    has less variance (Vicol, Kolter and Swersky 2023, ES-Single). `truncated`: a new ε for every
    truncation, which starts from a state that all particles share and that θ itself advances; ξ is
    that ε, and the gradient is biased like that of truncated backpropagation."""

    @property
    def carries(self) -> str:
        """The number of pairs and the kind of noise."""
        return f"PersistentES of {self.pairs} pairs, {self.noise} noise"

    @torch.no_grad()
    def __call__(
        self, learner: Learner, objective: Objective, carry: Carry | None, truncation: Truncation
    ) -> Outcome:
        """Run a truncation with every particle.

        The carry is a dict of `states`, one per particle with plus before minus, and `noise`, the
        ξ of all pairs, (pairs, |θ|); with `truncated` noise it has one shared state and no `noise`.
        """
        theta = flatten(learner.parameters())
        steps, sums = self._draw(theta, carry, truncation.noise_seed)
        particles = torch.stack([steps, -steps], dim=1).flatten(0, 1)  # (2 pairs, |θ|)
        starts = [None] if carry is None else carry["states"]
        if len(starts) == 1:  # all particles start from the same state
            starts = [*starts] * len(particles)
        states, scores = [], []
        for step, before in zip(particles, starts, strict=True):
            state, score = call_at(learner, theta + step, _trial, objective, before, truncation)
            states.append(state)
            scores.append(score)
        losses = torch.stack([score.loss for score in scores]).unflatten(0, (self.pairs, 2))
        differences = (losses[:, 0] - losses[:, 1]).mean(-1, keepdim=True)
        gradient = (sums * differences).mean(0) / (2 * self.std**2)
        mean = Score(*(torch.stack(parts).mean(0) for parts in zip(*scores, strict=True)))
        if self.noise == "truncated":
            shared = advance(learner, None if carry is None else carry["states"][0], truncation)
            return Outcome(gradient, {"states": (detached_copy(shared),)}, mean)
        return Outcome(gradient, {"states": tuple(states), "noise": sums}, mean)

    def _draw(self, theta: Tensor, carry: Carry | None, seed: int) -> tuple[Tensor, Tensor]:
        """ε of this truncation and ξ, (pairs, |θ|) each."""
        if carry is not None and self.noise == "episode":
            return carry["noise"], carry["noise"]
        generator = seeded(seed, theta.device)
        drawn = self.std * torch.randn(
            self.pairs, len(theta), generator=generator, device=theta.device, dtype=theta.dtype
        )
        if carry is not None and self.noise == "persistent":
            return drawn, carry["noise"] + drawn
        return drawn, drawn


def call_at(
    learner: Learner, theta: Tensor, function: Callable[..., Result], *arguments: Any
) -> Result:
    """Call `function(learner, *arguments)` with another θ; the learner's own is not changed.

    `theta` has all parameters as one vector, in the order of `learner.parameters()`. Gradient flows
    into it where gradients are enabled, except through recomputed activations.
    """
    named = list(learner.named_parameters())
    parts = theta.split([parameter.numel() for _, parameter in named])
    moved = {
        f"learner.{name}": part.view(parameter.shape)
        for (name, parameter), part in zip(named, parts, strict=True)
    }
    result: Result = functional_call(_Caller(learner), moved, (function, *arguments))
    return result


class _Caller(nn.Module):
    """Calls any function of a learner: `functional_call` can only call `forward`."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return function(self.learner, *arguments)


def _trial(
    learner: Learner, objective: Objective, state: State | None, truncation: Truncation
) -> tuple[State, Score]:
    """State and score after a truncation."""
    state = advance(learner, state, truncation)
    return state, objective(truncation.network, learner.parameters_of(state), truncation.labelled)
