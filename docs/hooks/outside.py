"""Pages of the site that are made of files outside docs/: README, configurations, sweeps, cards."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
RULES = "lit_lul/pretrained"
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
    "tests/golden/README.md": "golden.md",
    "configs": "configs/index.md",
    RULES: "rules/index.md",
}
FOLDERS = {"configs": "configs/*/*.yaml", "sweeps": "sweeps/*.yaml", "examples": "examples/*.py"}
PAGES |= {
    path.relative_to(ROOT).as_posix(): f"{folder}/{path.stem}.md"
    for folder, files in FOLDERS.items()
    for path in sorted(ROOT.glob(files))
}
PAGES |= {
    f"{RULES}/{path.name}": f"rules/{path.name}"
    for path in sorted(ROOT.glob(f"{RULES}/*.md"))
    if path.name != "README.md"
}
"""Pages by what they are made of, relative to the repository."""
SOURCES = {page: source for source, page in PAGES.items()}
TARGETS = PAGES | {"sweeps": "wandb.md", "docs/tutorials": "tutorials/use_a_rule.md"}
TARGETS |= {"sweeps/ablations": "wandb.md", "docs/runs": "runs/README.md"}
"""Where links lead, with folders that have a page in docs/."""
LANGUAGES = {".yaml": "yaml", ".py": "python"}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for page, source in SOURCES.items():
        files.append(File.generated(config, page, content=_text(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between files of the repository lead to the pages that are made of them."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")
    folder = source if (ROOT / source).is_dir() else posixpath.dirname(source)

    def lead(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[0]))
        there = TARGETS.get(target, target.removeprefix("docs/") if target[:5] == "docs/" else "")
        return posixpath.relpath(there, posixpath.dirname(here) or ".") if there else link[0]

    return LINK.sub(lead, markdown)


def _text(source: Path) -> str:
    """A page's Markdown."""
    if source == ROOT / "configs":
        return "\n".join(_configurations(source))
    if source == ROOT / RULES:
        cards = [f"- [{c.stem}]({c.name})" for c in sorted(source.glob("[a-z]*.md"))]
        about = (source / "README.md").read_text(encoding="utf-8")
        return "\n".join(["# Rules that ship\n", about, *cards])
    text = source.read_text(encoding="utf-8")
    if source.suffix in (".yaml", ".py"):
        return f"# {source.name}\n\n```{LANGUAGES[source.suffix]}\n{text}```\n"
    return f"# Licence\n\n```text\n{text}```\n" if source.name == "LICENSE" else text


def _configurations(folder: Path) -> Iterator[str]:
    """Links to the configurations, each with the first paragraph of its comment."""
    yield "# Configurations\n"
    yield "Each is found by its name, as in `lit-lul fit --config quickstart.yaml`.\n"
    for path in sorted(folder.glob("*/*.yaml")):
        comment = re.split(r"\n#?\n", path.read_text(encoding="utf-8"))[0]
        about = comment.removeprefix("# ").replace("\n# ", " ")
        yield f"- [{path.name}]({path.parent.name}/{path.name}): {about}"
