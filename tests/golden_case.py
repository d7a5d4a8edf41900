"""Reads the golden case into this package's own types (see golden/README.md)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_lul.learners.metz import UnsupervisedUpdate, UpdateSettings
from lit_lul.learners.metz.algorithm import UpdateState
from lit_lul.learners.metz.released import own_names
from lit_lul.networks.mlp import MLP
from lit_lul.objectives.objective import Labelled

ARRAYS: dict[str, Any] = dict(np.load(Path(__file__).parent / "golden" / "released_10-8-32.npz"))
SETTINGS = json.loads(str(ARRAYS["settings"]))
NETWORK = MLP((10, 8, 32))


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
    keys = [key for key in ARRAYS if key.startswith(f"{group}/")]
    return own_names({key.removeprefix(f"{group}/"): tensor(key) for key in keys})


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
