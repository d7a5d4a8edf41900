"""What a report's configuration leaves to the machine: precision and compilation."""

from pathlib import Path
from typing import Any, get_args

from lit_lul.devices import has_compiler, has_native_bf16
from lit_lul.errors import InvalidInput
from lit_lul.report.stored_rows import DEVICE, Precision

AUTO = "auto"


def chosen_precision(config: Path, value: Any) -> Precision:
    """The precision of hidden states; `auto` is bf16 where the machine multiplies it natively.

    Raises:
        InvalidInput: for another value.
    """
    if value == AUTO:
        return "bf16" if has_native_bf16(DEVICE) else "float32"
    if value not in get_args(Precision):
        raise InvalidInput(f"{config}: precision {value}: expected auto, float32 or bf16")
    return value  # type: ignore[no-any-return]  # one of the literals


def chosen_compilation(config: Path, value: Any) -> bool:
    """Whether rules use compiled norms; `auto` if there is a C++ compiler.

    Raises:
        InvalidInput: for another value.
    """
    if value == AUTO:
        return has_compiler()
    if not isinstance(value, bool):
        raise InvalidInput(f"{config}: compile {value}: expected auto, true or false")
    return value
