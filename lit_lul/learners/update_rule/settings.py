"""Everything that can be chosen about the unsupervised update, and the two published choices."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from lit_lul.errors import InvalidInput

PAPER_PLANES = [
    "w_base",
    "large_decay",
    "zero_order",
    "rbf",
    "first_order",
    "hebb",
    "lin_lower_sym",
    "sqr_lower_sym",
    "lin_upper_sym",
    "sqr_upper_sym",
]
"""The weight-update planes of App. 44-57, in order."""

RELEASED_PLANES = [*PAPER_PLANES, "lin_upper_psd", "decorr_x"]
"""The planes that the authors' released code adds as well."""

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
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
    },
    "released": {
        "inner_rate": 1e-4,
        "planes": RELEASED_PLANES,
        "positions": "two_turns",
        "hidden_stack": "residual",
        "error_norm": "unit",
        "hebb": "correlation",
        "signed_squares": True,
        "update_norm": "receptive_field",
        "divide_by_planes": True,
        "growth": 1 / 7,
        "bias_constraint": "rectified",
        "bias_pooling": "mean",
        "readout_bias": True,
        "merge_bias": True,
        "backward_update": "shared",
    },
}
"""`paper` is appendix G as printed; `released` is what the authors' code computes."""


@dataclass(frozen=True)
class RuleSettings:
    """Settings of `UnsupervisedUpdate`. What is left at None is the preset's, see `resolve`.

    Raises:
        InvalidInput: for an unknown preset, planes that are unknown or repeated, a size below one.
    """

    preset: str = "released"
    """`paper` (appendix G) or `released` (the authors' code); fills every setting left at null."""
    hidden_channels: int = 64
    """H, channels of the hidden state h (G.8)."""
    error_channels: int = 32
    """D, channels of the error signal d (G.4.1)."""
    top_channels: int = 64
    """S, channels inside topD (G.7)."""
    readout_channels: int = 4
    """P, channels of a low-rank readout (App. 40-42)."""
    embedding_units: int = 32
    """E, units of the base model's top layer; topD's weights fix it (G.2, G.7)."""
    inner_rate: float | None = None
    """η, share of φ that one inner step replaces (App. 5-6)."""
    planes: list[str] | None = None
    """Names of the weight-update planes in use (G.5)."""
    positions: Literal["one_turn", "two_turns"] | None = None
    """Angle of unit i of N: 2πi/N (App. 81) or 4πi/(N - 1)."""
    hidden_stack: Literal["plain", "residual"] | None = None
    """Convolutions of computeH: four in a row (App. 96-103), or two with residual pairs."""
    error_norm: Literal["tensor", "unit"] | None = None
    """What d is normalised over on its way down: all of it (App. 35), or each example and unit."""
    hebb: Literal["covariance", "correlation"] | None = None
    """The Hebbian plane: the covariance (App. 49), or minus the correlation."""
    signed_squares: bool | None = None
    """Whether the squared symmetric planes carry the sign of the weight (not in App. 53, 57)."""
    update_norm: Literal["matrix", "receptive_field"] | None = None
    """Planes and update are normalised over the matrix (App. 59, 62), or each unit's inputs."""
    divide_by_planes: bool | None = None
    """Whether the merged update is divided by √(number of planes) before its normalisation."""
    growth: float | None = None
    """Multiple of Ŵ that every finished update adds to W, against collapse of receptive fields."""
    bias_constraint: Literal["centred", "rectified"] | None = None
    """Constraint on Δb: Δb - max(0, mean) (App. 64), or Δb + max(0, -mean), scaled."""
    bias_pooling: Literal["sum", "mean"] | None = None
    """How the bias readout is pooled over the batch: sum (App. 63) or mean."""
    readout_bias: bool | None = None
    """Whether the readouts of h have a bias."""
    merge_bias: bool | None = None
    """Whether a learned constant is added to the weighted sum of the planes (App. 60)."""
    backward_update: Literal["own", "shared"] | None = None
    """ΔV: computed from V with the θ of ΔW (G.5), or equal to ΔW."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise InvalidInput(f"rule preset {self.preset!r}: expected one of {', '.join(PRESETS)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and value < 1:
                raise InvalidInput(f"rule {field.name} {value}: expected one or more")
        if self.planes is not None and not 0 < len(set(self.planes) & set(RELEASED_PLANES)) == len(
            self.planes
        ):
            raise InvalidInput(
                f"rule planes {self.planes}: expected one or more of {', '.join(RELEASED_PLANES)}"
            )

    def resolve(self) -> "RuleSettings":
        """The same settings with the preset's values in place of None."""
        left = {k: v for k, v in PRESETS[self.preset].items() if getattr(self, k) is None}
        return replace(self, **left)

    @property
    def plane_names(self) -> tuple[str, ...]:
        """The planes in use, in the order of `RELEASED_PLANES`, which θ's merge weights follow."""
        planes = self.resolve().planes or []
        return tuple(name for name in RELEASED_PLANES if name in planes)
