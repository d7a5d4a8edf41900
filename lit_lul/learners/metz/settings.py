"""Settings of the unsupervised update: the released form by default, and the paper's form."""

from dataclasses import dataclass, field
from typing import Any, Literal

from lit_lul.constraints import Checked, NonNegative, Positive, PositiveInt
from lit_lul.errors import InvalidInput
from lit_lul.learners.metz.planes import PLANES

RELEASED_PLANES = list(PLANES)
"""All planes: those of App. 44-57 and two that only the released code has."""

PAPER_PLANES = [name for name, plane in PLANES.items() if plane.printed]
"""The weight-update planes of App. 44-57, in order."""


@dataclass(frozen=True)
class UpdateSettings(Checked):
    """Settings of `UnsupervisedUpdate`. The defaults are what the authors' released code computes.

    Raises:
        InvalidInput: for planes that are unknown or repeated, or as `Checked`.
    """

    hidden_channels: PositiveInt = 64
    """H, channels of the hidden state h (G.8)."""
    error_channels: PositiveInt = 32
    """D, channels of the error signal d (G.4.1)."""
    top_channels: PositiveInt = 64
    """S, channels inside topD (G.7)."""
    readout_channels: PositiveInt = 4
    """P, channels of a low-rank readout (App. 40-42)."""
    embedding_units: PositiveInt = 32
    """E, units of the network's top layer; topD's weights fix it (G.2, G.7)."""
    inner_rate: Positive = 1e-4
    """η, the inner learning rate: the share of φ that one inner step replaces (App. 5-6)."""
    planes: list[str] = field(default_factory=lambda: list(RELEASED_PLANES))
    """Names of the weight-update planes in use (G.5)."""
    positions: Literal["one_turn", "two_turns"] = "two_turns"
    """Angle of unit i of N: 2πi/N (App. 81) or 4πi/(N - 1)."""
    hidden_stack: Literal["plain", "residual"] = "residual"
    """Convolutions of computeH: four in a row (App. 96-103), or two with residual pairs."""
    error_norm: Literal["tensor", "unit"] = "unit"
    """Scope of the normalisation of d: the tensor (App. 35), or each example and unit."""
    hebb: Literal["covariance", "correlation"] = "correlation"
    """The Hebbian plane: the covariance (App. 49), or minus the correlation."""
    signed_squares: bool = True
    """Whether the squared symmetric planes carry the sign of the weight (not in App. 53, 57)."""
    update_norm: Literal["matrix", "receptive_field", "none"] = "receptive_field"
    """Scope of the norms of planes and update: the matrix (App. 59, 62), a unit's inputs, or no
    norm."""
    divide_by_planes: bool = True
    """Whether the merged update is divided by √(number of planes) before its normalisation."""
    growth: NonNegative = 1 / 7
    """Multiple of Ŵ subtracted from ΔW, so that receptive fields do not collapse; 0 for none."""
    bias_constraint: Literal["centred", "rectified"] = "rectified"
    """Constraint on Δb: Δb - max(0, mean) (App. 64), or Δb + max(0, -mean), scaled."""
    bias_pooling: Literal["sum", "mean"] = "mean"
    """How the bias readout is pooled over the batch: sum (App. 63) or mean."""
    readout_bias: bool = True
    """Whether the readouts of h have a bias."""
    merge_bias: bool = True
    """Whether a learned constant is added to the weighted sum of the planes (App. 60)."""
    backward_update: Literal["own", "shared", "tied"] = "shared"
    """ΔV: computed from V with the θ of ΔW (G.5), or equal to ΔW; tied: V is W at all times."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < len(set(self.planes) & set(PLANES)) == len(self.planes):
            raise InvalidInput(
                f"UpdateSettings.planes must be one or more of {', '.join(PLANES)}, "
                f"got {', '.join(self.planes) or 'none'}"
            )

    @property
    def plane_names(self) -> tuple[str, ...]:
        """The planes in use, in the order of `PLANES`, which θ's merge weights follow."""
        return tuple(name for name in PLANES if name in self.planes)


PAPER: dict[str, Any] = {
    "inner_rate": 3e-4,
    "planes": PAPER_PLANES,
    "positions": "one_turn",
    "hidden_stack": "plain",
    "error_norm": "tensor",
    "hebb": "covariance",
    "signed_squares": False,
    "update_norm": "matrix",
    "divide_by_planes": False,
    "growth": 0.0,
    "bias_constraint": "centred",
    "bias_pooling": "sum",
    "readout_bias": False,
    "merge_bias": False,
    "backward_update": "own",
}
"""Appendix G as printed: `UpdateSettings(**PAPER)`."""
