"""Supported precisions of the trainer."""

from lit_lul.errors import InvalidInput

PRECISIONS = ("32-true", "bf16-mixed", "64-true")
"""Precisions by Lightning's names; bf16-mixed keeps all but hidden states in float32."""


def check_precision(precision: object) -> None:
    """Check the trainer's precision, by any of Lightning's names for it.

    Raises:
        InvalidInput: for an unsupported precision.
    """
    if str(precision) not in (*PRECISIONS, "None", "32", "64", "bf16"):
        raise InvalidInput(f"trainer.precision {precision}: expected {', '.join(PRECISIONS)}")
