"""Where a report writes its page."""

from pathlib import Path

from lit_lul.errors import InvalidInput

QUICK = "_quick"


def page_path(out: Path, quick: bool = False) -> Path:
    """The page of a report, with a name of its own for a quick look, which may have it already.

    Raises:
        InvalidInput: for a name that is no markdown file's.
    """
    if out.suffix != ".md":
        raise InvalidInput(f"--out {out}: expected a name that ends in .md")
    return out.with_stem(f"{out.stem.removesuffix(QUICK)}{QUICK}") if quick else out
