"""Reads the golden case into this package's own types (see golden/README.md)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_lul.learners.update_rule import UnsupervisedUpdate, UpdateSettings
from lit_lul.learners.update_rule.algorithm import UpdateState
from lit_lul.networks.mlp import MLP
from lit_lul.objectives.objective import Labelled

ARRAYS: dict[str, Any] = dict(np.load(Path(__file__).parent / "golden" / "released_10-8-32.npz"))
SETTINGS = json.loads(str(ARRAYS["settings"]))
NETWORK = MLP((10, 8, 32))

CONVS = {
    "compute_top_delta/conv_1d": ("top_signal.gather.conv", "batch"),
    "compute_top_delta/conv_1d_1": ("top_signal.mix_units.0.conv", "batch"),
    "compute_top_delta/conv_1d_2": ("top_signal.mix_units.1.conv", "batch"),
    "compute_top_delta/conv_1d_3": ("top_signal.refine.0.conv", "batch"),
    "compute_top_delta/conv_1d_4": ("top_signal.refine.1.conv", "batch"),
    "compute_top_delta/conv_1d_5": ("top_signal.readout", "batch"),
    "conv_1d": ("hidden_state.stack.0.batch.conv", "batch"),
    "ConcatUnitConv/conv_1d": ("hidden_state.stack.0.units.0.conv", "units"),
    "ConcatUnitConv/conv_1d_1": ("hidden_state.stack.0.units.1.conv", "units"),
    "conv_1d_1": ("hidden_state.stack.1.batch.conv", "batch"),
    "ConcatUnitConv_1/conv_1d": ("hidden_state.stack.1.units.0.conv", "units"),
    "ConcatUnitConv_1/conv_1d_1": ("hidden_state.stack.1.units.1.conv", "units"),
}
NORMS = {
    "compute_top_delta/batch_norm": "top_signal.gather.norm",
    "compute_top_delta/batch_norm_1": "top_signal.mix_units.0.norm",
    "compute_top_delta/batch_norm_2": "top_signal.mix_units.1.norm",
    "compute_top_delta/batch_norm_3": "top_signal.refine.0.norm",
    "compute_top_delta/batch_norm_4": "top_signal.refine.1.norm",
    "batch_norm": "hidden_state.input_norm",
    "batch_norm_1": "hidden_state.stack.0.batch.norm",
    "ConcatUnitConv/batch_norm": "hidden_state.stack.0.units.0.norm",
    "ConcatUnitConv/batch_norm_1": "hidden_state.stack.0.units.1.norm",
    "batch_norm_2": "hidden_state.stack.1.batch.norm",
    "ConcatUnitConv_1/batch_norm": "hidden_state.stack.1.units.0.norm",
    "ConcatUnitConv_1/batch_norm_1": "hidden_state.stack.1.units.1.norm",
}
BELOW = [
    "weight_readout_0_bottom",
    "weight_readout_rbf_bottom",
    "weight_readout_1_bottom",
    "lin_lower_symm_bottom",
    "sqr_lower_symm_bottom",
    "lin_lower_symm_top",
    "sqr_lower_symm_top",
]
ABOVE = [
    "weight_readout_0_top",
    "weight_readout_rbf_top",
    "weight_readout_1_top",
    "lin_upper_symm_bottom",
    "sqr_upper_symm_bottom",
    "lin_upper_symm_top",
    "sqr_upper_symm_top",
    "lin_upper_psd_top",
]
MERGE = {
    "0_order": "zero_order",
    "1_order": "first_order",
    "decorr_x": "decorr_x",
    "hebb": "hebb",
    "large_decay": "large_decay",
    "lin_lower_symm": "lin_lower_sym",
    "lin_upper_psd": "lin_upper_psd",
    "lin_upper_symm": "lin_upper_sym",
    "rbf": "rbf",
    "sqr_lower_symm": "sqr_lower_sym",
    "sqr_upper_symm": "sqr_upper_sym",
    "w_base": "w_base",
}
"""The released names of the planes, in the order of the released merge weights."""


def tensor(key: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """An array of the case, without a task axis."""
    return torch.from_numpy(ARRAYS[key]).to(dtype)


def state(key: str, dtype: torch.dtype = torch.float64) -> UpdateState:
    """φ and V of one task."""

    def layers(name: str) -> tuple[Tensor, ...]:
        return tuple(tensor(f"{key}/{name}{layer}", dtype)[None] for layer in (1, 2))

    return {
        "params": {"weights": layers("W"), "biases": layers("b")},
        "backward_weights": layers("V"),
    }


def theta(group: str) -> dict[str, Tensor]:
    """θ, or a gradient of its shape, under the names of `UnsupervisedUpdate`."""
    named = {}
    for released, (own, axis) in CONVS.items():
        weight = tensor(f"{group}/{released}/w").permute(2, 1, 0)
        named[f"{own}.weight"] = weight.unsqueeze(2 if axis == "batch" else 3)
        if not own.endswith(".conv"):  # behind the others a norm takes the bias away again
            named[f"{own}.bias"] = tensor(f"{group}/{released}/b")
    for released, own in NORMS.items():
        named[f"{own}.offset"] = tensor(f"{group}/{released}/beta").flatten()
    named["error_readout.weight"] = tensor(f"{group}/linear/w").T
    named["error_readout.bias"] = tensor(f"{group}/linear/b")
    readouts = [f"{group}/forward{name}/linear" for name in (*BELOW, *ABOVE)]
    readouts.append(f"{group}/bias_readout")
    named["readouts.weight"] = torch.cat([tensor(f"{name}/w").T for name in readouts])
    named["readouts.bias"] = torch.cat([tensor(f"{name}/b") for name in readouts])
    released_merge = tensor(f"{group}/forward_weight_readout_coeffs/w").flatten()
    by_plane = dict(zip(MERGE.values(), released_merge, strict=True))
    named["merge"] = torch.stack([by_plane[name] for name in UpdateSettings().plane_names])
    named["merge_bias"] = tensor(f"{group}/forward_weight_readout_coeffs/b").squeeze()
    return named


def rule(inner_rate: float, dtype: torch.dtype = torch.float64) -> UnsupervisedUpdate:
    """The released rule with the θ of the case."""
    rule = UnsupervisedUpdate(UpdateSettings(inner_rate=inner_rate))
    rule.load_state_dict(theta("theta"))
    return rule.to(dtype)


def labelled(dtype: torch.dtype = torch.float64) -> Labelled:
    """The two labelled batches, as one draw of one task."""

    def one_hot(side: str) -> Tensor:
        classes = torch.from_numpy(ARRAYS[f"objective/{side}_class"]).long()
        return torch.nn.functional.one_hot(classes, SETTINGS["classes"]).to(dtype)[None, None]

    columns = torch.ones(1, SETTINGS["classes"], dtype=torch.bool)
    return Labelled(
        tensor("objective/support_x", dtype)[None, None],
        one_hot("support"),
        tensor("objective/query_x", dtype)[None, None],
        one_hot("query"),
        is_class=columns,
        is_target=columns,
    )
