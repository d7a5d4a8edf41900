"""The table of equations in docs/update-rule.md: every function exists and names its equations."""

import importlib
import inspect
import re
from operator import attrgetter
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "update-rule.md"
ROWS = re.findall(
    r"^\| ((?:eq|algorithm|App)[^|]*) \| [^|]* \| `([\w/]+)\.py:([\w.]+)` \|$",
    PAGE.read_text(),
    re.MULTILINE,
)
EMPTY = {32, 58, 69}
"""Numbers of the appendix that have no equation."""


def numbers(text: str) -> set[str]:
    """Equations that a text names: such as `eq. 1`, `algorithm 1`, `App. 5`, `App. 6`."""
    found = {f"{kind} {n}" for kind, n in re.findall(r"(eq\.|algorithm) (\d+)", text)}
    for several in re.findall(r"App\. ([\d, -]+)", text):
        for part in re.findall(r"\d+-\d+|\d+", several):
            first, _, last = part.partition("-")
            found |= {f"App. {n}" for n in range(int(first), int(last or first) + 1)}
    return found


@pytest.mark.parametrize(("equations", "module", "name"), ROWS)
def test_every_function_names_its_equations(equations: str, module: str, name: str) -> None:
    function = attrgetter(name)(importlib.import_module(f"lit_lul.{module.replace('/', '.')}"))
    documented = inspect.getdoc(function)
    assert documented is not None
    assert numbers(equations) <= numbers(documented)


def test_every_equation_is_in_the_table() -> None:
    named = numbers("; ".join(row[0] for row in ROWS))
    appendix = {f"App. {n}" for n in range(1, 105) if n not in EMPTY}
    assert appendix | {"eq. 1", "eq. 2", "algorithm 1"} <= named
