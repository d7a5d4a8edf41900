"""docs/architecture.md is true: what it names exists, and it names every folder and every layer."""

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
TREE = PAGE[PAGE.index("```\nlit_lul/") : PAGE.index("```\n\nThe folders")]


def folders_of_tree() -> list[str]:
    """Folders of the package that the tree names, from the top."""
    found: list[str] = []
    for spaces, name in re.findall(r"^( +)(\w+)/ ", TREE, re.M):
        found.append(f"{found[-1].split('/')[0]}/{name}" if len(spaces) > 2 else name)
    return found


def test_it_names_every_folder_of_the_package() -> None:
    package = REPOSITORY / "lit_lul"
    folders = {path.parent.relative_to(package).as_posix() for path in package.rglob("*.py")}
    folders |= {"pretrained"}
    assert sorted(folders_of_tree()) == sorted(folders - {"."})


def test_what_it_names_exists() -> None:
    package = REPOSITORY / "lit_lul"
    modules = {path.name for path in package.rglob("*.py")}
    assert set(re.findall(r"\b(\w+\.py)\b", TREE)) <= modules
    for path in re.findall(r"`(\w+/[\w/]+\.py)`", PAGE):
        assert (package / path).is_file(), path
    for folder in re.findall(r"^(\w+)/", TREE, re.M):
        assert (REPOSITORY / folder).is_dir(), folder


def test_folders_are_in_the_order_of_the_layers() -> None:
    """A folder stands below none that it may import."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["id"] == "layers")["layers"]
    height = {name: n for n, layer in enumerate(layers) for name in layer.split(" | ")}
    order = [height[name] for name in folders_of_tree() if name in height]
    assert order == sorted(order)


def test_readme_is_short_and_has_the_test_command() -> None:
    readme, contributing, check = (
        (REPOSITORY / name).read_text(encoding="utf-8")
        for name in ("README.md", "CONTRIBUTING.md", ".ci/run")
    )
    assert len(readme.splitlines()) <= 90
    assert "pip install -e '.[test]' && python -m pytest\n" in readme
    assert "\npython -m pytest " in contributing and "python -m pytest\n" in check
