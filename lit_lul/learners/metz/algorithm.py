"""One inner step of the unsupervised learning rule of Metz et al. 2018, appendix G.

Shapes: T tasks, B examples, N_l units of layer l = 0..L, D error channels, H hidden channels.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch, Learner, register
from lit_lul.learners.metz.equations import (
    bias_update,
    error_signal,
    move,
    send_down,
    weight_update,
)
from lit_lul.learners.metz.low_rank import LowRankReadouts
from lit_lul.learners.metz.networks import (
    HiddenState,
    TopSignal,
    init_fan_in,
    weight_statistics,
)
from lit_lul.learners.metz.norm import compile_norms
from lit_lul.learners.metz.settings import UpdateSettings
from lit_lul.networks.mlp import MLP, WEIGHT_STD, MLPParams, truncated_normal
from lit_lul.networks.network import Activations, Network
from lit_lul.precision import forbid_tf32, full_precision


class UpdateState(TypedDict):
    """The state of `UnsupervisedUpdate` for T tasks; index l - 1 holds layer l."""

    params: MLPParams
    """φ: W^l and b^l."""
    backward_weights: tuple[Tensor, ...]
    """V^l, (T, N_{l-1}, N_l), which propagate the error signal down (App. 34)."""


class Update(NamedTuple):
    """The update of all layers before the inner rate is applied; index l - 1 holds layer l."""

    weights: tuple[Tensor, ...]
    """ΔW^l, (T, N_{l-1}, N_l)."""
    biases: tuple[Tensor, ...]
    """Δb^l, (T, N_l)."""
    backward_weights: tuple[Tensor, ...]
    """ΔV^l, (T, N_{l-1}, N_l)."""


@register
class UnsupervisedUpdate(Learner):
    """The paper's learner: a neuron-local rule that trains MLPs without labels.

    Under autocast, hidden states and their readouts have the lower precision; φ, activations and
    planes keep their dtype.

    Args:
        settings: sizes of θ and form of the rule; the default is the released form.
    """

    settings_class = UpdateSettings
    settings: UpdateSettings

    def __init__(self, settings: UpdateSettings = UpdateSettings()) -> None:
        super().__init__(settings)
        s = settings
        self.top_signal = TopSignal(s.embedding_units, s.top_channels, s.error_channels)
        self.hidden_state = HiddenState(
            s.error_channels, s.hidden_channels, s.hidden_stack, s.positions
        )
        self.error_readout = nn.Linear(s.hidden_channels, s.error_channels)
        init_fan_in(self.error_readout.weight, s.hidden_channels)
        nn.init.zeros_(self.error_readout.bias)
        self.readouts = LowRankReadouts(
            s.plane_names, s.hidden_channels, s.readout_channels, s.readout_bias
        )
        self.merge = nn.Parameter(torch.full((len(s.plane_names),), 0.1))
        self.merge_bias = nn.Parameter(torch.zeros(())) if s.merge_bias else None

    @property
    def embedding_units(self) -> int:
        """E, which topD's weights fix (G.7)."""
        return self.settings.embedding_units

    def check(self, network: Network) -> None:
        """Check that the network is an MLP with the rule's E units in its top layer.

        Raises:
            InvalidInput: if not, naming what the network has and what the rule expects.
        """
        if not isinstance(network, MLP):
            raise InvalidInput(
                f"network {type(network).__name__}: {type(self).__name__} expects an MLP"
            )
        super().check(network)

    def prepare(self, compile: bool) -> None:
        """Choose the kernels of the norms: compiled if `compile` is true, and always on a GPU.

        On a GPU the eager norms copy their input, so they are used, with a warning, only where
        compilation fails and `compile` is false. TF32 is disabled on GPUs.

        Raises:
            InvalidInput: when `compile` is true and compilation fails.
        """
        on_gpu = self.merge.device.type == "cuda"
        if on_gpu:
            forbid_tf32()
        if not compile and not on_gpu:
            return
        try:
            compile_norms(self)
        except InvalidInput as error:
            if compile:
                raise
            warnings.warn(f"slower norms on the GPU: {error}", stacklevel=2)

    def start(self, network: Network, tasks: int, generator: torch.Generator) -> UpdateState:
        """A state with newly drawn φ, in the dtype of θ, and V.

        V is from the distribution of W, or W itself if the two are tied.
        """
        dtype = self.merge.dtype
        params: MLPParams = network.init(tasks, generator, dtype)
        if self.settings.backward_update == "tied":
            return {"params": params, "backward_weights": params["weights"]}
        return {
            "params": params,
            "backward_weights": tuple(
                truncated_normal(WEIGHT_STD, *weight.shape, generator=generator).to(dtype)
                for weight in params["weights"]
            ),
        }

    def step(self, network: Network, state: UpdateState, batch: Batch) -> UpdateState:
        """The state after one update on unlabelled inputs in [0, 1] (App. 1-6)."""
        phi, rate = state["params"], self.settings.inner_rate
        activations = network.activations(phi, batch.x)  # App. 3
        _, h = self.propagate(state, activations)
        update = self.compute_update(state, activations, h)  # App. 4
        return {
            "params": {
                "weights": move(phi["weights"], update.weights, rate),  # App. 5
                "biases": move(phi["biases"], update.biases, rate),  # App. 6
            },
            "backward_weights": move(state["backward_weights"], update.backward_weights, rate),
        }

    def propagate(
        self, state: UpdateState, activations: Activations
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Propagate the error signal down the network (App. 29-36).

        Returns:
            d: d^0..d^L, (T, N_l, B, D).
            h: h^0..h^L, (T, N_l, B, H).
        """
        weights, biases = state["params"]["weights"], state["params"]["biases"]
        xs = [x.mT for x in activations.x]
        zs = [z.mT for z in activations.z]
        d = [self.top_signal(xs[-1])]  # App. 31
        h: list[Tensor] = []
        for layer in range(len(weights), -1, -1):
            statistics = weight_statistics(weights, layer)
            bias = biases[layer - 1] if layer > 0 else torch.zeros_like(statistics[..., 0])
            per_unit = torch.cat([statistics, bias.unsqueeze(-1)], dim=-1)
            h.append(self.hidden_state(d[-1], xs[layer], zs[layer], per_unit))  # App. 36
            if layer > 0:
                delta = error_signal(d[-1], zs[layer], self.error_readout(h[-1]))  # App. 33
                v = state["backward_weights"][layer - 1]
                d.append(send_down(self.settings, delta, v))  # App. 34-35
        return d[::-1], h[::-1]

    def compute_update(
        self, state: UpdateState, activations: Activations, h: Sequence[Tensor]
    ) -> Update:
        """ΔW, Δb and ΔV of all layers, computed from the hidden states (App. 37-64)."""
        s = self.settings
        weights, biases, backward_weights = [], [], []
        for layer in range(1, len(h)):
            above, bias = self.readouts.above(h[layer])  # App. 40-41, 63
            low_rank = self.readouts.products(self.readouts.below(h[layer - 1]), above)  # App. 42
            v, u = activations.x[layer - 1].mT, activations.x[layer].mT
            w = state["params"]["weights"][layer - 1]
            if s.backward_update == "own":
                w = torch.stack([w, state["backward_weights"][layer - 1]])
            delta = weight_update(s, self.merge, self.merge_bias, w, v, u, low_rank)
            delta_w, delta_v = delta if s.backward_update == "own" else (delta, delta)
            weights.append(delta_w)
            backward_weights.append(delta_v)
            with full_precision(v):
                biases.append(bias_update(s, bias.to(v.dtype)))  # App. 63-64
        return Update(tuple(weights), tuple(biases), tuple(backward_weights))
