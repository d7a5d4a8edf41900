"""Gradient descent on labelled examples, from an initial φ that is learned (MAML and its kin).

Shapes: T tasks, B examples, C target columns.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lit_lul.constraints import Positive
from lit_lul.errors import InvalidInput
from lit_lul.learners.learned_start import LearnedStart, StartSettings
from lit_lul.learners.learner import Batch, State, register
from lit_lul.networks.network import Network
from lit_lul.objectives.supervised import LOSSES, Loss, predict
from lit_lul.trees import tensors_of

FIRST_RATES = (0.005, 0.1)
"""Bounds of the initial rates of `MetaSGD`, which are uniform (Li et al. 2017)."""


@dataclass(frozen=True)
class DescentSettings(StartSettings):
    """Settings of all learners that descend a gradient."""

    loss: Loss = "cross_entropy"
    """What an inner step descends: the mean loss of the network's outputs on its examples."""
    first_order: bool = False
    """Whether the gradient of θ ignores how θ changes the gradients of the inner steps."""


class GradientDescent(LearnedStart):
    """Learns a task by gradient descent on its labelled examples; θ holds where it starts.

    Differentiable in θ also where gradients are computed within a step: the gradient of θ has
    second derivatives of the loss, unless `first_order` is set.

    Args:
        settings: the network, the loss, and which gradient.
    """

    settings: DescentSettings

    @property
    @abstractmethod
    def rates(self) -> Sequence[Tensor | float]:
        """The inner rate of every tensor of φ, in the order of `tensors_of`."""

    def adapts(self, layer: int, layers: int) -> bool:
        """Whether inner steps change a layer, by its number from 0, of so many layers."""
        return True

    def step(self, network: Network, state: State, batch: Batch) -> State:
        """The state after one step down the gradient of the loss.

        Raises:
            InvalidInput: for a batch without targets, or with more target columns than outputs.
        """
        if batch.y is None:
            raise InvalidInput(f"{type(self).__name__}: expected batches with targets")
        names, before = zip(*tensors_of(state["params"]), strict=True)
        layers = len(state["params"]["weights"])
        adapted = [self.adapts(int(name.rpartition(".")[2]), layers) for name in names]
        of_theta = torch.is_grad_enabled() and any(p.requires_grad for p in before)
        exact = of_theta and not self.settings.first_order
        with torch.enable_grad():
            inner = [
                p if exact and (p.requires_grad or not a) else p.detach().requires_grad_(a)
                for p, a in zip(before, adapted, strict=True)
            ]
            outputs = predict(network, self.tree(inner), batch.x, batch.y)
            gradients = iter(
                torch.autograd.grad(
                    LOSSES[self.settings.loss](outputs, batch.y).sum(),  # tasks do not mix
                    [p for p, a in zip(inner, adapted, strict=True) if a],
                    create_graph=exact,
                )
            )
        after = (
            p - rate * next(gradients) if a else p
            for p, rate, a in zip(before, self.rates, adapted, strict=True)
        )
        return {"params": self.tree(after)}


@dataclass(frozen=True)
class MAMLSettings(DescentSettings):
    """Settings of `MAML` and `ANIL`."""

    inner_rate: Positive = 0.1
    """The rate of inner steps, or its initial value."""
    learn_rate: bool = False
    """Whether the rate is part of θ."""


@register
class MAML(GradientDescent):
    """One rate for all of φ (Finn, Abbeel and Levine 2017).

    Args:
        settings: the network, the loss, which gradient, and the rate.
    """

    settings_class = MAMLSettings
    settings: MAMLSettings

    def __init__(self, settings: MAMLSettings = MAMLSettings()) -> None:
        super().__init__(settings)
        if settings.learn_rate:
            self.rate = nn.Parameter(torch.tensor(settings.inner_rate))

    @property
    def rates(self) -> Sequence[Tensor | float]:
        """The one rate, for every tensor."""
        rate = self.rate if self.settings.learn_rate else self.settings.inner_rate
        return [rate] * len(self.initial)


@register
class ANIL(MAML):
    """MAML whose inner steps change the head alone (Raghu et al. 2020).

    Args:
        settings: as for `MAML`.
    """

    def adapts(self, layer: int, layers: int) -> bool:
        """Whether the layer is the last."""
        return layer == layers - 1


@dataclass(frozen=True)
class MetaSGDSettings(DescentSettings):
    """Settings of `MetaSGD`."""

    negative_rates: bool = True
    """Whether rates may be negative; if not, those below 0 count as 0."""


@register
class MetaSGD(GradientDescent):
    """A learned rate for every parameter of φ, of either sign (Li et al. 2017).

    Args:
        settings: the network, the loss, which gradient, and which rates.
    """

    settings_class = MetaSGDSettings
    settings: MetaSGDSettings

    def __init__(self, settings: MetaSGDSettings = MetaSGDSettings()) -> None:
        super().__init__(settings)
        self.rate = nn.ParameterDict()
        for name, p in self.initial.items():
            self.rate[name] = torch.empty_like(p).uniform_(*FIRST_RATES)

    @property
    def rates(self) -> Sequence[Tensor]:
        """The rates of every tensor, in its shape without the task axis."""
        rates = list(self.rate.values())
        return rates if self.settings.negative_rates else [rate.clamp(min=0) for rate in rates]
