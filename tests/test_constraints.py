"""One checker for options."""

import math
from dataclasses import dataclass, field, is_dataclass
from importlib import import_module
from pkgutil import walk_packages
from typing import Annotated, Any, Literal, get_type_hints

import numpy as np
import pytest
from jsonargparse import ArgumentParser

import lit_lul
from lit_lul.constraints import (
    Bounds,
    Checked,
    Length,
    NonNegative,
    Positive,
    PositiveInt,
    Share,
    check_arguments,
)
from lit_lul.errors import InvalidInput
from lit_lul.tasks.schedules import WeightSchedule


@dataclass(frozen=True)
class Options(Checked):
    """Options of every kind."""

    count: PositiveInt = 1
    """How many."""
    rate: Positive = 0.1
    share: Share = 0.5
    bend: Annotated[float, Bounds(ge=0, lt=0.5)] = 0.0
    perhaps: PositiveInt | None = None
    units: Annotated[list[PositiveInt], Length(1)] = field(default_factory=lambda: [4])
    size: PositiveInt | tuple[PositiveInt, PositiveInt] = 3
    kind: Literal["one", "two"] = "one"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "Options.count must be at least 1, got 0"),
        ({"count": True}, "Options.count must be an integer, got True"),
        ({"count": 1.5}, "Options.count must be an integer, got 1.5"),
        ({"count": "3"}, "Options.count must be an integer, got '3'"),
        ({"count": np.int64(-2)}, "Options.count must be at least 1, got -2"),
        ({"rate": 0}, "Options.rate must be above 0, got 0"),
        ({"rate": math.nan}, "Options.rate must be above 0, got nan"),
        ({"share": 2}, "Options.share must be at least 0 and at most 1, got 2"),
        ({"bend": 0.5}, "Options.bend must be at least 0 and below 0.5, got 0.5"),
        ({"perhaps": 0}, "Options.perhaps must be at least 1, got 0"),
        ({"perhaps": "no"}, "Options.perhaps must be an integer or null, got 'no'"),
        ({"units": []}, "Options.units must be of length 1 or more, got []"),
        ({"units": [4, 0]}, "each of Options.units must be at least 1, got 0"),
        ({"size": (0, 2)}, "each of Options.size must be at least 1, got 0"),
        ({"size": "big"}, "Options.size must be an integer or a list, got 'big'"),
        ({"kind": "three"}, "Options.kind must be one of one, two, got 'three'"),
    ],
)
def test_bad_values_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        Options(**options)
    assert str(raised.value) == message


def test_good_values_pass() -> None:
    Options(count=np.int64(3), rate=math.inf, share=np.float32(1), perhaps=2)  # type: ignore[arg-type]
    Options(rate=1, units=(5, 6), size=[1, 2])  # type: ignore[arg-type]


def test_arguments_of_a_function() -> None:
    def measure(draws: PositiveInt, weight: NonNegative = 0.0) -> None:
        check_arguments(measure, locals())

    measure(2)
    with pytest.raises(InvalidInput, match=r"^weight must be at least 0, got -1$"):
        measure(2, -1)


def test_the_parser_checks_kinds_and_shows_bounds() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--options", type=Options)
    text = " ".join(parser.format_help().split())
    assert "Annotated[int, at least 1]" in text
    assert parser.instantiate(parser.parse_args(["--options.size=[1,2]"])).options.size == (1, 2)
    with pytest.raises(Exception, match="int"):
        parser.parse_args(["--options.count=true"])
    for option in ("--options.count=0", "--options.units=[0]"):
        with pytest.raises(ValueError, match="must be at least 1, got 0"):
            parser.instantiate(parser.parse_args([option]))


def test_every_class_with_bounded_fields_checks_them() -> None:
    """So tests of single classes are left to checks of their own."""
    for module in walk_packages(lit_lul.__path__, "lit_lul."):
        if module.name != "lit_lul.__main__":
            for kind in vars(import_module(module.name)).values():
                bounded = is_dataclass(kind) and any(
                    isinstance(bounds, Bounds | Length)
                    for hint in get_type_hints(kind, include_extras=True).values()
                    for bounds in getattr(hint, "__metadata__", ())
                )
                by_source = kind is WeightSchedule  # which says whose weight it is
                assert not bounded or by_source or issubclass(kind, Checked), kind
