"""A learned optimizer: an LSTM that turns the gradients of a loss into updates, coordinatewise.

Andrychowicz et al. 2016, "Learning to learn by gradient descent by gradient descent".

Shapes: T tasks, P coordinates of φ, N coordinates of any tensors, H units of a layer.
"""

import math
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor, nn

from lit_lul.constraints import Checked, Positive, PositiveInt
from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch, Learner, register
from lit_lul.networks.network import Network, Params
from lit_lul.objectives.supervised import LOSSES, Loss, predict
from lit_lul.precision import full_precision
from lit_lul.trees import map_tensors, tensors_of

Memory = tuple[Tensor, ...]
"""Hidden or cell states of the LSTM's layers, the lowest first, (N, H) each."""


class LSTMState(TypedDict):
    """The state of `LSTMOptimizer` for T tasks."""

    params: Params
    """φ."""
    hidden: Memory
    """Hidden states of every layer, (T, P, H)."""
    cell: Memory
    """Cell states of every layer, (T, P, H)."""


@dataclass(frozen=True)
class LSTMSettings(Checked):
    """Settings of `LSTMOptimizer`; the defaults are those of the paper."""

    embedding_units: PositiveInt = 10
    """E, outputs of the networks of meta-training; others can be trained as well."""
    loss: Loss = "cross_entropy"
    """The loss whose gradients it sees."""
    layers: PositiveInt = 2
    """Layers of the LSTM."""
    hidden_units: PositiveInt = 20
    """H, units of each of them."""
    output_scale: Positive = 0.1
    """Factor of its output."""
    log_range: Positive = 10.0
    """p: gradients are seen as log|g| / p and sign(g), those below exp(-p) as -1 and exp(p) g."""


@register
class LSTMOptimizer(Learner):
    """Trains any network on labelled minibatches: φ ← φ + 0.1 m(∇ loss), m an LSTM.

    All coordinates of φ share the LSTM and have states of their own, so θ fits networks of any
    size. Gradients of the loss with respect to φ count as inputs: θ is not differentiated through
    them, which saves second derivatives.

    Args:
        settings: the loss, and the sizes of the LSTM.
    """

    learns_from = "labelled"
    settings_class = LSTMSettings
    settings: LSTMSettings

    def __init__(self, settings: LSTMSettings = LSTMSettings()) -> None:
        super().__init__(settings)
        units = settings.hidden_units
        sizes = [2] + [units] * (settings.layers - 1)
        self.cells = nn.ModuleList(nn.LSTMCell(size, units) for size in sizes)
        self.readout = nn.Linear(units, 1)
        nn.init.zeros_(self.readout.bias)

    @property
    def embedding_units(self) -> int:
        """E, from the settings."""
        return self.settings.embedding_units

    def check(self, network: Network) -> None:
        """Any network can be trained."""

    def start(self, network: Network, tasks: int, generator: torch.Generator) -> LSTMState:
        """A state with newly drawn φ, in the dtype of θ."""
        params = network.init(tasks, generator, self.readout.weight.dtype)
        coordinates = sum(tensor[0].numel() for _, tensor in tensors_of(params))
        hidden, cell = self.start_memory((tasks, coordinates))
        return {"params": params, "hidden": hidden, "cell": cell}

    def start_memory(self, shape: tuple[int, ...]) -> tuple[Memory, Memory]:
        """Hidden and cell states of new coordinates, (*shape, H) for each layer: zeros."""
        zeros = self.readout.weight.new_zeros(*shape, self.settings.hidden_units)
        return (zeros,) * self.settings.layers, (zeros,) * self.settings.layers

    def step(self, network: Network, state: LSTMState, batch: Batch) -> LSTMState:
        """The state after one update on a labelled minibatch.

        Raises:
            InvalidInput: without labels.
        """
        params = state["params"]
        gradients = self.gradients(network, params, batch)
        joined = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
        hidden, cell = (tuple(m.flatten(0, 1) for m in state[k]) for k in ("hidden", "cell"))
        update, hidden, cell = self.update(joined.flatten(), hidden, cell)
        sizes = [gradient[0].numel() for gradient in gradients]
        updates = iter(update.view_as(joined).split(sizes, dim=1))
        return {
            "params": map_tensors(lambda p: p + next(updates).view_as(p), params),
            "hidden": tuple(m.view(*joined.shape, -1) for m in hidden),
            "cell": tuple(m.view(*joined.shape, -1) for m in cell),
        }

    def gradients(self, network: Network, params: Params, batch: Batch) -> list[Tensor]:
        """Gradients of every task's loss, detached, in the order of φ's tensors.

        Raises:
            InvalidInput: without labels.
        """
        if batch.y is None:
            raise InvalidInput(f"{type(self).__name__}: expected minibatches with labels")
        with torch.enable_grad():
            leaves = map_tensors(lambda p: p.detach().requires_grad_(), params)
            outputs = predict(network, leaves, batch.x, batch.y)
            loss = LOSSES[self.settings.loss](outputs, batch.y).sum()
            every = [leaf for _, leaf in tensors_of(leaves)]
            return list(torch.autograd.grad(loss, every, materialize_grads=True))

    def update(
        self, gradient: Tensor, hidden: Memory, cell: Memory
    ) -> tuple[Tensor, Memory, Memory]:
        """What is added to N coordinates, (N,), and their new hidden and cell states.

        Args:
            gradient: of the loss with respect to the coordinates, (N,).
            hidden: hidden states of every layer, (N, H).
            cell: cell states of every layer, (N, H).
        """
        after: list[tuple[Tensor, Tensor]] = []
        with full_precision(gradient):
            x = log_and_sign(gradient, self.settings.log_range)
            for layer, h, c in zip(self.cells, hidden, cell, strict=True):
                after.append(layer(x, (h, c)))
                x = after[-1][0]
            change = self.settings.output_scale * self.readout(x).squeeze(-1)
        return change, tuple(h for h, _ in after), tuple(c for _, c in after)


def log_and_sign(gradient: Tensor, p: float) -> Tensor:
    """Gradients (N,) as inputs of like size, (N, 2): log|g| / p and sign(g) (appendix A).

    Those below exp(-p) are -1 and exp(p) g.
    """
    logarithm = gradient.abs().clamp(min=math.exp(-p)).log() / p
    return torch.stack([logarithm, (gradient * math.exp(p)).clamp(-1, 1)], dim=-1)
