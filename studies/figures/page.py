"""The page of the figures: for each panel a picture, the paper, what it shows, and checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import replace_file
from studies.figures.config import FiguresConfig
from studies.figures.panel import ERRORS, Check, Panel

PAPER_STEPS = 5.3e8
"""Inner steps with gradient in the paper: 256 tasks × 200,000 outer steps × 10.4."""
STEPS = {"small": 8.1e5, "broad": 2.6e5}
"""Inner steps with gradient of the rules that ship, see docs/runs."""


@dataclass(frozen=True)
class FiguresPage:
    """The content of the page.

    Attributes:
        command: the command that measures everything in it.
        seconds: about how long that takes on one core.
        settings: the configuration.
        panels: all panels, in their order.
        rules: names of the rules.
    """

    command: str
    seconds: float
    settings: FiguresConfig
    panels: Sequence[Panel[Any]]
    rules: Sequence[str]


def write_page(page: FiguresPage, missing: Mapping[str, Sequence[str]], out: Path) -> None:
    """Write the markdown; pictures are in the folder of the same name.

    Args:
        page: the content.
        missing: by panel, what could not be measured.
        out: the markdown file.

    Raises:
        InvalidInput: when a file cannot be written.
    """
    folder, parts, unmeasured = out.with_suffix(""), [_introduction(page, out)], []
    for panel in page.panels:
        lacks = "".join(f"\n\nLeft out: {reason}." for reason in missing.get(panel.name, []))
        try:
            rows = panel.rows(folder)
            complete = len(rows) == len(panel.measurements())
        except InvalidInput:
            rows, complete = {}, True
        if not complete and not lacks:
            lacks = "\n\nNot all of it is measured yet."
        if rows:
            parts.append(_section(panel, rows, folder.name) + lacks)
        elif lacks and panel.name in missing:
            parts.append(f"## {panel.title}{lacks}")
        else:
            unmeasured.append(panel.name)
    if unmeasured:
        parts.append(f"Not measured yet: {', '.join(unmeasured)}.")
    with replace_file(out) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")


def draw_panel(panel: Panel[Any], folder: Path) -> None:
    """Draw what is measured of a panel, as PNG and SVG.

    Raises:
        InvalidInput: when a file cannot be written.
    """
    if rows := panel.rows(folder):
        figure = panel.draw(rows)
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            path = folder / f"{panel.name}.{kind}"
            with rc_context({"svg.hashsalt": panel.name}), replace_file(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=110, metadata=metadata)


def _section(panel: Panel[Any], rows: Mapping[str, Any], folder: str) -> str:
    checks = "\n".join(_line(check) for check in panel.checks(rows))
    return f"""## {panel.title}

![{panel.title}]({folder}/{panel.name}.png)

- *The paper:* {panel.paper}
- *Here:* {panel.shows(rows)}
- *Protocol:* {panel.protocol()}

{checks}""".rstrip()


def _line(check: Check) -> str:
    return f"- **{'held' if check.held else 'not held'}**: {check.claim}: {check.numbers}."


def _introduction(page: FiguresPage, out: Path) -> str:
    ours = " and ".join(
        f"`{name}` {_power(steps)} ({steps / PAPER_STEPS:.2%})"
        for name, steps in STEPS.items()
        if name in page.rules
    )
    compute = f"; {ours}" if ours else ""
    return f"""# The paper's figures

```sh
{page.command}
```

Figures 2 to 6 of Metz et al. 2018, measured with rules of this project: under each picture what the
paper reported, what ours shows, and its claims as checks. A check of a difference holds where it
exceeds zero by {ERRORS} standard errors on the same draws, everywhere it is claimed.

The rules differ most in compute. The paper's meta-training took {_power(PAPER_STEPS)} inner steps
with gradient{compute}. Where a claim does not hold here, that is one reason
it may not.

Accuracies are few-shot, mean ± standard error over the draws; by the ridge regression of the
meta-objective if nothing else is said, with hidden states in {page.settings.precision}. *Inductive*
embeds every labelled row alone, with batch statistics of unlabelled rows; the paper's labelled rows
shared their own. Every draw has its own network, order of the inputs, labels and test examples.
All numbers are in `{out.stem}/<panel>.json`; all of them are estimated at {page.seconds / 3600:.1f}
hours of one core that nothing else uses."""


def _power(number: float) -> str:
    mantissa, exponent = f"{number:.1e}".split("e")
    digits = str(int(exponent)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}·10{digits}"
