"""The command `report ablations`: which of the paper's verbal claims hold in short runs."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from lit_lul.files.atomic import replace_file
from lit_lul.report.page_path import page_path
from lit_lul.report.stored_rows import Row, RowFile
from studies.ablations.ablation_runs import HELD_OUT, AblationRun, find_runs, measure_run

FULL = "full"
PLANE = "without_"
RESOLVED = 2.0
"""Standard errors that a difference must have."""


class Claim(NamedTuple):
    """What the paper says, as a comparison of two variants."""

    text: str
    better: str
    worse: str


CLAIMS = (
    Claim("bounded inner steps are crucial (App. B, G.5)", FULL, "no_update_norm"),
    Claim("batch norm in the network helps (App. B)", FULL, "no_batch_norm"),
    Claim("random lengths of inner problems help (App. B, H.2)", "random_lengths", FULL),
    Claim("truncations should begin short (H.2)", "growing_unrolls", "long_unrolls"),
    Claim("clipping gradients of θ helps (App. B)", FULL, "no_clipping"),
    Claim("the cosine loss is more stable (section 4.1)", FULL, "squared_loss"),
    Claim("scoring every inner step, equation 1, beats the last alone", "every_step", FULL),
    Claim("backward weights of their own do no harm (section 3)", FULL, "tied_backward_weights"),
    Claim("training on permuted inputs helps where inputs are permuted", FULL, "not_permuted"),
    Claim("the decorrelating planes help (G.5)", FULL, "no_decorrelation"),
)


class Measured(NamedTuple):
    """A run and what was measured of its θ."""

    run: AblationRun
    row: Row

    @property
    def accuracy(self) -> float:
        """Mean over the draws after the last inner step."""
        return self.row.curve("ridge").mean[-1]


def ablations(runs: list[str], out: Path = Path("docs/ablations.md")) -> None:
    """Measure the runs of a sweep of ablations, and write tables with a line per claim.

    Runs that have not finished are left out, so that a sweep can be looked at while it runs.

    Args:
        runs: folders of sweeps that have run.
        out: the page, a markdown file; a folder of its name keeps what is measured.

    Raises:
        InvalidInput: for an invalid option, or a run that is not finished as expected.
    """
    out = page_path(out)
    found = find_runs(runs)
    file = RowFile("ablations", out.with_suffix("") / "runs.json", Row)
    data, console = HELD_OUT.load(None), Console(stderr=True)
    measured: dict[str, dict[int, Measured]] = {}
    for run in track(found, "Runs", console=console):
        row = measure_run(run, data, file)
        measured.setdefault(run.variant, {})[run.seed] = Measured(run, row)
    command = ["python", "-m", "lit_lul", "report", "ablations", "--runs", *runs, "--out", str(out)]
    with replace_file(out) as temporary:
        temporary.write_text(_page(shlex.join(command), found, measured, out))
    console.print(f"ablations in {out}")


def verdict(measured: Mapping[str, Mapping[int, Measured]], claim: Claim) -> str:
    """Whether the difference of accuracies over the seeds that both have bears a claim out."""
    better, worse = (measured.get(name, {}) for name in claim[1:])
    seeds = sorted(better.keys() & worse.keys())
    if not seeds:
        return "not measured"
    pairs = [100 * (better[s].accuracy - worse[s].accuracy) for s in seeds]
    if len(seeds) == 1:
        return f"not resolved at this cost: {pairs[0]:+.1f} points, one seed"
    mean, error = float(np.mean(pairs)), float(np.std(pairs, ddof=1) / math.sqrt(len(pairs)))
    found = "not resolved at this cost"
    if abs(mean) > RESOLVED * error:
        found = "**held**" if mean > 0 else "**did not hold**"
    return f"{found}: {mean:+.1f} ± {error:.1f} points, {len(seeds)} seeds"


def _table(measured: Mapping[str, Mapping[int, Measured]], names: Sequence[str]) -> str:
    header = ["", "seeds", "held-out digits", "as the run sees it", "correlation", "gradient"]
    lines = [header, ["---"] * len(header)]
    for name in names:
        of_seeds = list(measured[name].values())
        correlations = [float(m.row.draws("correlation")) for m in of_seeds]
        largest = max(m.run.largest_gradient for m in of_seeds)
        lines.append(
            [
                name.replace("_", " "),
                str(len(of_seeds)),
                _mean([m.accuracy for m in of_seeds]),
                _mean([m.run.validation for m in of_seeds]),
                f"{np.mean(correlations):.2f}",
                f"{largest:.2g}",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _mean(values: Sequence[float]) -> str:
    """Mean and standard error over seeds."""
    if len(values) < 2:
        return f"{values[0]:.1%}"
    return f"{np.mean(values):.1%} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.1%}"


def _page(
    command: str,
    runs: Sequence[AblationRun],
    measured: Mapping[str, Mapping[int, Measured]],
    out: Path,
) -> str:
    parts = [name for name in measured if not name.startswith(PLANE)]
    planes = [name for name in measured if name.startswith(PLANE)]
    steps = sorted({run.outer_steps for run in runs})
    start = np.mean([m.row.curve("ridge").mean[0] for m in measured[parts[0]].values()])
    claims = "\n".join(f"- {claim.text}: {verdict(measured, claim)}." for claim in CLAIMS)
    text = f"""# Ablations

```sh
python -m lit_lul sweep sweeps/ablations.yaml --out runs/ablations
{command}
```

Parts of the method left out or changed one at a time, see [sweeps/ablations](../sweeps/ablations).
Runs are those of the quick start with {_range(steps)} outer steps, {len(runs)} runs in
{sum(run.seconds for run in runs) / 3600:.1f} hours. That is the beginning of meta-training: what
matters for stability in long runs need not show here.

*Held-out digits* is few-shot accuracy after {HELD_OUT.inner_steps} inner steps (ridge,
inductive, 8 × 8, inputs permuted, mean over {HELD_OUT.draws} draws); with batch norm it is
{start:.1%} before the first. *As the run sees it* is the run's own meta-validation on characters.
Both are mean ± standard error over seeds. *Correlation* is the mean |correlation| of the
embedding's units, *gradient* the largest norm of a gradient of θ before clipping. The accuracy of
every draw is in `{out.stem}/runs.json`.

{_table(measured, parts)}

## The paper's claims

Differences on held-out digits between runs of the same seed; one is resolved if it exceeds
{RESOLVED:g} standard errors.

{claims}
"""
    if not planes:
        return text
    lines = "\n".join(
        f"- without `{name.removeprefix(PLANE)}`: {verdict(measured, Claim('', FULL, name))}."
        for name in planes
    )
    return f"""{text}
## Planes

Runs of [sweeps/ablations_planes.yaml](../sweeps/ablations_planes.yaml).

{_table(measured, planes)}

Whether a plane helps:

{lines}
"""


def _range(steps: Sequence[int]) -> str:
    return f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
