"""One checker for options: annotations of fields say what values they may have.

    @dataclass(frozen=True)
    class Sizes(Checked):
        cohorts: PositiveInt = 8
        hidden_units: Annotated[list[PositiveInt], Length(1)] = ...

A rule that relates two fields follows `super().__post_init__()` in a `__post_init__`. Functions,
such as an `__init__`, call `check_arguments(function, locals())`.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from annotated_types import Interval, Len

from lit_lul.errors import InvalidInput

hints_of = cache(get_type_hints)
KINDS: dict[Any, tuple[type, str]] = {
    int: (Integral, "an integer"),
    float: (Real, "a number"),
    list: (Sequence, "a list"),
    tuple: (Sequence, "a list"),
    NoneType: (NoneType, "null"),
}
"""The values that a type stands for, and what errors call them; otherwise its instances."""


COMPARISONS = {
    "gt": ("above", operator.gt),
    "ge": ("at least", operator.ge),
    "lt": ("below", operator.lt),
    "le": ("at most", operator.le),
}


class Bounds(Interval):
    """An interval of annotated-types, with words for errors and `--help`."""

    def __repr__(self) -> str:
        """Such as `at least 1`, or `at least 0 and below 0.5`."""
        given = ((word, getattr(self, name)) for name, (word, _) in COMPARISONS.items())
        return " and ".join(f"{word} {bound}" for word, bound in given if bound is not None)

    def __contains__(self, value: Any) -> bool:
        """Whether a number lies within."""
        given = ((holds, getattr(self, name)) for name, (_, holds) in COMPARISONS.items())
        return all(holds(value, bound) for holds, bound in given if bound is not None)


class Length(Len):
    """A length of annotated-types, with words for errors and `--help`."""

    def __repr__(self) -> str:
        """Such as `of length 1 or more`."""
        most = "or more" if self.max_length is None else f"to {self.max_length}"
        return f"of length {self.min_length} {most}"

    def __contains__(self, value: Any) -> bool:
        """Whether a sequence has such a length."""
        return self.min_length <= len(value) <= (self.max_length or math.inf)


class Ordered:
    """A lower and an upper bound, with words for errors and `--help`."""

    def __repr__(self) -> str:
        """How errors say it."""
        return "in order"

    def __contains__(self, value: Any) -> bool:
        """Whether the lower bound comes first, and not above the upper one."""
        return bool(value[0] <= value[1])


PositiveInt: TypeAlias = Annotated[int, Bounds(ge=1)]
NonNegativeInt: TypeAlias = Annotated[int, Bounds(ge=0)]
Positive: TypeAlias = Annotated[float, Bounds(gt=0)]
NonNegative: TypeAlias = Annotated[float, Bounds(ge=0)]
Share: TypeAlias = Annotated[float, Bounds(ge=0, le=1)]


@dataclass(frozen=True)
class Checked:
    """Base of dataclasses whose fields are checked when an instance is made."""

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self), f"{type(self).__name__}.")


def check_arguments(of: Callable[..., Any], arguments: Mapping[str, Any], prefix: str = "") -> None:
    """Check values by name against the annotations of a function or class.

    Raises:
        InvalidInput: for a value that its annotation forbids; its name follows the prefix.
    """
    for name, hint in hints_of(of, include_extras=True).items():
        if name in arguments:
            _check(prefix + name, hint, arguments[name])


def _check(name: str, hint: Any, value: Any) -> None:
    origin, parts = get_origin(hint), get_args(hint)
    if not _fits(hint, value):
        raise InvalidInput(f"{name} must be {_words(hint)}, got {value!r}")
    if origin in (Union, UnionType):
        _check(name, next(part for part in parts if _fits(part, value)), value)
    elif origin is Annotated:
        _check(name, parts[0], value)
        for bounds in parts[1:]:
            if value not in bounds:
                raise InvalidInput(f"{name} must be {bounds}, got {value}")
    elif origin in (list, tuple):
        of_items = parts if origin is tuple and ... not in parts else repeat(parts[0])
        for item, part in zip(value, of_items, strict=False):
            _check(f"each of {name}", part, item)


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of an annotation's kind, whatever its bounds and items are."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(part, value) for part in parts)
    if origin in (Annotated, Literal):
        return value in parts if origin is Literal else _fits(parts[0], value)
    kind = origin or hint
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True  # such as `Any`
    if isinstance(value, bool | str) and kind not in (type(value), object):
        return False  # neither a number nor a list
    return isinstance(value, KINDS.get(kind, (kind,))[0])


def _words(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Annotated, Union, UnionType):
        return " or ".join(map(_words, parts[:1] if origin is Annotated else parts))
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    kind = origin or hint
    return KINDS[kind][1] if kind in KINDS else str(kind.__name__)
