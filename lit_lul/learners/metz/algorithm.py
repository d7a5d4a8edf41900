"""One inner step of the unsupervised learning rule of Metz et al. 2018, appendix G.

Shapes: T tasks, B examples, N_l units of layer l = 0..L, D error channels, H hidden channels.
"""

import warnings
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn

from lit_lul.errors import InvalidInput
from lit_lul.learners.learner import Batch, Learner, register
from lit_lul.learners.metz.low_rank import LowRankReadouts
from lit_lul.learners.metz.networks import HiddenState, TopSignal, init_fan_in
from lit_lul.learners.metz.norm import compile_norms
from lit_lul.learners.metz.settings import UpdateSettings
from lit_lul.learners.metz.unit_features import weight_statistics
from lit_lul.learners.metz.updates import PlaneSum, Update, bias_update
from lit_lul.networks.mlp import MLP, WEIGHT_STD, MLPParams, truncated_normal
from lit_lul.networks.network import Activations, Network
from lit_lul.precision import forbid_tf32, full_precision


class UpdateState(TypedDict):
    """The state of `UnsupervisedUpdate` for T tasks; index l - 1 holds layer l."""

    params: MLPParams
    """φ: W^l and b^l."""
    backward_weights: tuple[Tensor, ...]
    """V^l, (T, N_{l-1}, N_l), which propagate the error signal down (App. 34)."""


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
        activations = network.activations(state["params"], batch.x)
        _, h = self.propagate(state, activations)
        update = self.compute_update(state, activations, h)
        rate = self.settings.inner_rate

        def apply(before: Sequence[Tensor], deltas: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(
                p * (1 - rate) - rate * delta for p, delta in zip(before, deltas, strict=True)
            )

        return {
            "params": {
                "weights": apply(state["params"]["weights"], update.weights),
                "biases": apply(state["params"]["biases"], update.biases),
            },
            "backward_weights": apply(state["backward_weights"], update.backward_weights),
        }

    def propagate(
        self, state: UpdateState, activations: Activations
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Propagate the error signal down the network (G.4.1).

        Returns:
            d: d^0..d^L, (T, N_l, B, D).
            h: h^0..h^L, (T, N_l, B, H).
        """
        weights, biases = state["params"]["weights"], state["params"]["biases"]
        layers = len(weights)
        xs = [x.mT for x in activations.x]
        zs = [z.mT for z in activations.z]
        d = [self.top_signal(xs[-1])]  # App. 31
        h: list[Tensor] = []
        for layer in range(layers, -1, -1):
            statistics = weight_statistics(weights, layer)
            bias = biases[layer - 1] if layer > 0 else torch.zeros_like(statistics[..., 0])
            per_unit = torch.cat([statistics, bias.unsqueeze(-1)], dim=-1)
            h.append(self.hidden_state(d[-1], xs[layer], zs[layer], per_unit))  # App. 36
            if layer > 0:
                r = self.error_readout(h[-1])
                gate = torch.sigmoid(zs[layer]).unsqueeze(-1).to(r.dtype)
                delta = torch.addcmul(r, d[-1].to(r.dtype), gate)  # App. 33
                below = state["backward_weights"][layer - 1] @ delta.flatten(2)  # App. 34
                d.append(self._normalise_error(below.unflatten(2, delta.shape[2:])))
        return d[::-1], h[::-1]

    def compute_update(
        self, state: UpdateState, activations: Activations, h: Sequence[Tensor]
    ) -> Update:
        """ΔW, Δb and ΔV of all layers, computed from the hidden states (G.5, G.6)."""
        s = self.settings
        weights, biases, backward_weights = [], [], []
        for layer in range(1, len(h)):
            below = self.readouts.below(h[layer - 1])
            above, bias = self.readouts.above(h[layer])
            low_rank = self.readouts.products(below, above)
            v, u = activations.x[layer - 1].mT, activations.x[layer].mT
            changed = [state["params"]["weights"][layer - 1]]
            if s.backward_update == "own":
                changed.append(state["backward_weights"][layer - 1])
            sums = [PlaneSum(s, self.merge, self.merge_bias, w, v, u) for w in changed]
            for name in s.plane_names:
                product = low_rank[name]() if name in low_rank else None
                for planes in sums:
                    planes.add(name, product)
            updates = [planes.update() for planes in sums]
            weights.append(updates[0])
            backward_weights.append(updates[-1])
            with full_precision(v):
                biases.append(bias_update(s, bias.to(v.dtype)))
        return Update(tuple(weights), tuple(biases), tuple(backward_weights))

    def _normalise_error(self, d: Tensor) -> Tensor:
        """Scale d (T, N, B, D) to mean square 1, keeping its dtype (App. 35)."""
        if self.settings.error_norm == "tensor":
            scale = torch.rsqrt(d.square().mean((1, 2, 3), keepdim=True))
        else:
            scale = torch.rsqrt(d.square().mean(-1, keepdim=True) + 1e-6)
        return d * scale.to(d.dtype)  # autocast may have widened it
