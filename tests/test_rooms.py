"""Sizes of the package, and that its small modules have a reason to be modules."""

import ast
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
LINES = {"lit_lul": 14_900, "studies": 4_000}
"""Largest number of lines of a package; 14,000 and 3,300 are the aim, so it only goes down."""
SMALL = 60
"""Lines below which a module with a single importer needs a reason."""
ALLOWED = {
    "lit_lul.training.schedules": "configurations name its class",
}
"""Small modules with a single importer, each with its reason."""


def modules(package: str) -> dict[str, Path]:
    """The modules of a package by name, without those that only gather what others define."""
    files = (REPOSITORY / package).rglob("*.py")
    return {
        ".".join(file.relative_to(REPOSITORY).with_suffix("").parts): file
        for file in files
        if file.stem not in ("__init__", "__main__")
    }


def importers() -> dict[str, set[str]]:
    """The modules that import each module."""
    found: dict[str, set[str]] = defaultdict(set)
    for package in (*LINES, "benchmarks", "examples"):
        for file in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
                    for name in names:
                        found[name].add(str(file))
    return found


def test_packages_stay_small() -> None:
    for package, most in LINES.items():
        files = (REPOSITORY / package).rglob("*.py")
        lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
        assert lines <= most, f"{package} has {lines} lines"


def test_small_modules_with_one_importer_have_a_reason() -> None:
    of_module = importers()
    small = {
        name
        for package in LINES
        for name, file in modules(package).items()
        if len(file.read_text(encoding="utf-8").splitlines()) < SMALL and len(of_module[name]) <= 1
    }
    assert small == set(ALLOWED), "modules to merge, or reasons that are no longer needed"
