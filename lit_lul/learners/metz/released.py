"""θ of the released form under the names that the authors' checkpoint uses.

Their `w` of a convolution is (kernel, in, out), of a linear map (in, out); their offsets are
(1, 1, channels).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.learners.metz.algorithm import UnsupervisedUpdate
from lit_lul.learners.metz.settings import UpdateSettings

CONVS = {
    "compute_top_delta/conv_1d": "top_signal.gather.conv",
    "compute_top_delta/conv_1d_1": "top_signal.mix_units.0.conv",
    "compute_top_delta/conv_1d_2": "top_signal.mix_units.1.conv",
    "compute_top_delta/conv_1d_3": "top_signal.refine.0.conv",
    "compute_top_delta/conv_1d_4": "top_signal.refine.1.conv",
    "compute_top_delta/conv_1d_5": "top_signal.readout",
    "conv_1d": "hidden_state.stack.0.batch.conv",
    "ConcatUnitConv/conv_1d": "hidden_state.stack.0.units.0.conv",
    "ConcatUnitConv/conv_1d_1": "hidden_state.stack.0.units.1.conv",
    "conv_1d_1": "hidden_state.stack.1.batch.conv",
    "ConcatUnitConv_1/conv_1d": "hidden_state.stack.1.units.0.conv",
    "ConcatUnitConv_1/conv_1d_1": "hidden_state.stack.1.units.1.conv",
}
"""Our names of convolutions. Their biases in front of a norm, which removes them, have none."""
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
READOUTS = [
    *(
        f"forward{name}/linear"
        for name in (
            "weight_readout_0_bottom",
            "weight_readout_rbf_bottom",
            "weight_readout_1_bottom",
            "lin_lower_symm_bottom",
            "sqr_lower_symm_bottom",
            "lin_lower_symm_top",
            "sqr_lower_symm_top",
            "weight_readout_0_top",
            "weight_readout_rbf_top",
            "weight_readout_1_top",
            "lin_upper_symm_bottom",
            "sqr_upper_symm_bottom",
            "lin_upper_symm_top",
            "sqr_upper_symm_top",
            "lin_upper_psd_top",
        )
    ),
    "bias_readout",
]
"""Linear maps of the hidden state, in the order of our `readouts`."""
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
MERGE_MAP = "forward_weight_readout_coeffs"

SIZES = {
    "hidden_channels": ("conv_1d/w", 2),
    "error_channels": ("linear/w", 1),
    "top_channels": ("compute_top_delta/conv_1d/w", 2),
    "readout_channels": (f"{READOUTS[0]}/w", 1),
    "embedding_units": ("compute_top_delta/conv_1d_1/w", 2),
}
"""For each size of θ: a variable and its axis of this size."""
SHOWN = 3
"""Number of wrong variables that an error lists."""


def own_names(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """θ, or a gradient of its shape, under the names of `UnsupervisedUpdate`.

    Args:
        released: variables by released name, of the shapes of `released_shapes`; others are
            ignored.
    """
    named = {}
    for name, own in CONVS.items():
        axis = 3 if ".units." in own else 2  # the axis of length one
        named[f"{own}.weight"] = released[f"{name}/w"].permute(2, 1, 0).unsqueeze(axis)
        if not own.endswith(".conv"):
            named[f"{own}.bias"] = released[f"{name}/b"]
    for name, own in NORMS.items():
        named[f"{own}.offset"] = released[f"{name}/beta"].flatten()
    named["error_readout.weight"] = released["linear/w"].T
    named["error_readout.bias"] = released["linear/b"]
    named["readouts.weight"] = torch.cat([released[f"{name}/w"].T for name in READOUTS])
    named["readouts.bias"] = torch.cat([released[f"{name}/b"] for name in READOUTS])
    by_plane = dict(zip(MERGE.values(), released[f"{MERGE_MAP}/w"].flatten(), strict=True))
    named["merge"] = torch.stack([by_plane[name] for name in UpdateSettings().plane_names])
    named["merge_bias"] = released[f"{MERGE_MAP}/b"].squeeze()
    return named


def released_shapes(settings: UpdateSettings) -> dict[str, list[int]]:
    """Shapes that the variables of θ have in a released checkpoint, by name."""
    own = {name: list(t.shape) for name, t in UnsupervisedUpdate(settings).state_dict().items()}
    shapes = {}
    for name, conv in CONVS.items():
        outputs, inputs, *kernel = own[f"{conv}.weight"]
        shapes[f"{name}/w"] = [max(kernel), inputs, outputs]
        if not conv.endswith(".conv"):
            shapes[f"{name}/b"] = [outputs]
    shapes |= {f"{name}/beta": [1, 1, *own[f"{norm}.offset"]] for name, norm in NORMS.items()}
    columns = dict.fromkeys(READOUTS, settings.readout_channels) | {"bias_readout": 1}
    for name, outputs in {"linear": settings.error_channels, **columns}.items():
        shapes |= {f"{name}/w": [settings.hidden_channels, outputs], f"{name}/b": [outputs]}
    return shapes | {f"{MERGE_MAP}/w": [len(MERGE), 1], f"{MERGE_MAP}/b": [1]}


def from_released(variables: Mapping[str, Tensor]) -> UnsupervisedUpdate:
    """The rule of a released checkpoint, with the sizes of its variables.

    Args:
        variables: variables by name, with any scope before the released names. Those that are not θ
            (moving averages, the step) are ignored.

    Raises:
        InvalidInput: when variables are missing or of another shape; names them.
    """
    anchor = "compute_top_delta/conv_1d/w"
    scopes = [name.removesuffix(anchor) for name in variables if name.endswith(anchor)]
    if not scopes:
        raise InvalidInput(f"no θ of the released form: no variable is named {anchor}")
    scope = min(scopes, key=len)
    found = {n.removeprefix(scope): v for n, v in variables.items() if n.startswith(scope)}
    shapes = {name: list(variable.shape) for name, variable in found.items()}
    sizes: dict[str, Any] = {}
    for size, (name, axis) in SIZES.items():
        if len(shapes.get(name, [])) != axis + 1:
            raise InvalidInput(_wrong(scope + name, shapes.get(name), f"{axis + 1} axes"))
        sizes[size] = shapes[name][axis]
    settings = UpdateSettings(**sizes)
    expected = released_shapes(settings)
    wrong = [
        _wrong(scope + name, shapes.get(name), str(shape))
        for name, shape in expected.items()
        if shapes.get(name) != shape
    ]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise InvalidInput("; ".join(wrong[:SHOWN]) + more)
    rule = UnsupervisedUpdate(settings)
    rule.load_state_dict(own_names(found))
    return rule


def _wrong(name: str, found: list[int] | None, expected: str) -> str:
    return f"{name} is {'missing' if found is None else found}, expected {expected}"
