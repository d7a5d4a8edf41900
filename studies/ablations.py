"""The command `report ablations`: which of the paper's verbal claims hold in short runs."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.held_out import HeldOut, describe
from lit_lul.files.theta import load_learner
from lit_lul.learners.learner import Learner
from lit_lul.networks.mlp import MLPs
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.page import Cell, Check, Page, Table
from lit_lul.report.rows import Row, rule_key
from lit_lul.report.study import Measurement, Part, Study, initial_theta, page_path, spell
from lit_lul.sweep import FINISHED
from studies.checks import over_draws

HELD_OUT = HeldOut(inner_steps=60, points=1, batch_size=32, tests_per_class=20, draws=16)
"""Digits, which meta-training never sees."""
NETWORKS = MLPs((1, 1), (32, 32))
"""Networks of the runs; some runs are without batch norm."""
FULL, PLANE = "full", "without_"
INITIAL = f"{FULL}, initial θ"


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


@dataclass(frozen=True)
class AblationRun:
    """One finished run."""

    variant: str
    """What is changed."""
    seed: int
    folder: Path
    """θ, configuration and log."""
    outer_steps: int
    validation: float
    """Accuracy on held-out characters as the run sees them."""
    seconds: float

    @property
    def largest_gradient(self) -> float:
        """The largest norm of an outer step's gradient, before it is clipped."""
        with (self.folder / "metrics.csv").open(newline="") as file:
            norms = [row.get("train/gradient_norm") for row in csv.DictReader(file)]
        return max((float(norm) for norm in norms if norm), default=0.0)

    def held_out(self) -> HeldOut:
        """The held-out digits, with networks that have batch norm if those of the run do."""
        config = OmegaConf.load(self.folder / "config.yaml")
        batch_norm = OmegaConf.select(config, "data.networks.init_args.batch_norm", default=True)
        return replace(HELD_OUT, networks=replace(NETWORKS, batch_norm=bool(batch_norm)))


@dataclass
class Runs(Part[Row]):
    """The runs of a sweep, each measured on held-out digits."""

    runs: Mapping[str, AblationRun]
    """Runs by variant and seed."""
    name = "runs"
    kind = Row

    def measurements(self) -> list[Measurement[Row]]:
        """One for each run, and one for the initial θ of the first full run."""
        measured = {
            name: (load_learner(run.folder / "checkpoints" / "theta.safetensors"), run.held_out())
            for name, run in self.runs.items()
        }
        if full := [name for name, run in self.runs.items() if run.variant == FULL]:
            rule, held_out = measured[full[0]]
            measured[INITIAL] = (initial_theta(rule), held_out)
        found = []
        for name, (rule, held_out) in measured.items():
            key = rule_key(_protocol(held_out), "float32", rule)
            measure = partial(measure_rule, key, rule, held_out)
            found.append(Measurement(name, key, 1.0, measure))
        return found

    def protocol(self) -> object:
        """The held-out digits and the probe."""
        return _protocol(replace(HELD_OUT, networks=NETWORKS))


def _protocol(held_out: HeldOut) -> dict[str, Any]:
    return {"held_out": held_out.describe(), "ridge": describe(FewShotRidge())}


def ablations(runs: list[str], out: Path = Path("docs/ablations.md")) -> None:
    """Measure the runs of a sweep of ablations, and write tables with a check per claim.

    Runs that have not finished are left out, so that a sweep can be looked at while it runs.

    Args:
        runs: folders of sweeps that have run.
        out: the page, a markdown file; a folder of its name keeps what is measured.

    Raises:
        InvalidInput: for an invalid option, or a run that is not finished as expected.
    """
    out = page_path(out)
    found = find_runs(runs)
    command = "python -m lit_lul sweep sweeps/ablations.yaml --out runs/ablations\n"
    command += spell("ablations", runs=runs, out=out)
    page = partial(ablations_page, command, found)
    Study("ablations", [Runs(found)], lambda rows: page(rows["runs"])).run(out)


def find_runs(folders: Sequence[str]) -> dict[str, AblationRun]:
    """Finished runs below the folders of sweeps, the first of each variant and seed.

    Raises:
        InvalidInput: when there is none, or a run is not one of ablations.
    """
    found: dict[str, AblationRun] = {}
    for path in (p for folder in folders for p in sorted(Path(folder).glob(f"*/{FINISHED}"))):
        content: dict[str, Any] = json.loads(path.read_text())
        try:
            run = AblationRun(
                Path(content["values"]["config"]).stem,
                int(content["values"]["seed_everything"]),
                path.parent / content["folder"],
                int(content["metrics"]["step"]),
                content["metrics"]["val/accuracy"],
                content["seconds"],
            )
        except KeyError as error:
            raise InvalidInput(f"{path}: expected a run with {error}") from error
        found.setdefault(f"{run.variant}, seed {run.seed}", run)
    if not found:
        raise InvalidInput(f"--runs {' '.join(folders)}: expected finished runs of a sweep")
    return found


def measure_rule(key: str, rule: Learner, held_out: HeldOut) -> Row:
    """Accuracy before and after inner steps, and the mean |correlation| of the embedding's units.

    The correlation is that of the first draw's query.
    """
    data, ridge = HELD_OUT.load(None), FewShotRidge()
    found = roll_out_draws(rule, ridge, data, held_out, range(held_out.draws))
    correlation = [[mean_correlation(found.embedding)]]
    accuracy = {"ridge": found.accuracy[0].tolist(), "correlation": correlation}
    return Row(key, list(held_out.probe_steps), accuracy)


def mean_correlation(embedding: torch.Tensor) -> float:
    """Mean |correlation| of pairs of units of an embedding (K, E); 0 where one is constant."""
    correlation = torch.corrcoef(embedding.double().T).nan_to_num()
    units = len(correlation)
    total = correlation.abs().sum() - correlation.diagonal().abs().sum()
    return float(total / (units * (units - 1)))


def ablations_page(command: str, runs: Mapping[str, AblationRun], rows: Mapping[str, Row]) -> Page:
    """The page: a table of variants, a check per claim, and the same for planes."""
    accuracy: dict[str, dict[int, float]] = {}
    for name, run in runs.items():
        if name in rows:
            last = rows[name].curve("ridge").mean[-1]
            accuracy.setdefault(run.variant, {})[run.seed] = last
    variants = [name for name in accuracy if not name.startswith(PLANE)]
    planes = [name for name in accuracy if name.startswith(PLANE)]
    means = {name: float(np.mean([*of_seeds.values()])) for name, of_seeds in accuracy.items()}
    checks = [check(accuracy, claim) for claim in CLAIMS]
    held = [claim.claim for claim in checks if claim.held]
    steps = max(run.outer_steps for run in runs.values())
    best = max(means, key=lambda name: means[name], default="none")
    sections: dict[str, Any] = {
        "The paper's claims": checks,
        "Variants": [variants_table(runs, rows, variants)],
    }
    if planes:
        of_planes = [check(accuracy, Claim(f"{n[len(PLANE) :]} helps", FULL, n)) for n in planes]
        sections["Planes"] = [variants_table(runs, rows, planes), *of_planes]
    return Page(
        "Ablations",
        f"After {steps} outer steps {len(held)} of {len(checks)} claims hold; "
        f"the most accurate variant on held-out digits is {best.replace('_', ' ')}.",
        command,
        sections=sections,
        method=f"""Parts of the method are left out or changed one at a time, see
[sweeps/ablations](../sweeps/ablations); runs are those of the quick start. That is the beginning of
meta-training: what matters for stability in long runs need not show here. There are {len(runs)}
runs in {sum(run.seconds for run in runs.values()) / 3600:.1f} hours.

*Held-out digits* is few-shot accuracy after {HELD_OUT.inner_steps} inner steps (ridge, inductive,
8 × 8, inputs permuted, mean over {HELD_OUT.draws} draws and the seeds), *random network* the same
before the first step. *As the run sees it* is the run's own meta-validation on characters,
*correlation* the mean |correlation| of the embedding's units, *gradient* the largest norm of a
gradient of θ before clipping. Claims compare runs of the same seed on held-out digits, with the
standard error over seeds. The accuracy of every draw is in `ablations/runs.json`.""",
    )


def variants_table(
    runs: Mapping[str, AblationRun], rows: Mapping[str, Row], variants: Sequence[str]
) -> Table:
    """Means over the seeds of every variant."""
    cells: dict[str, list[Cell]] = {}
    for variant in [INITIAL] * (INITIAL in rows) + [*variants]:
        names = [n for n, run in runs.items() if run.variant == variant and n in rows]
        measured, own = [rows[n] for n in names or [INITIAL]], [runs[n] for n in names]
        curves = np.array([row.curve("ridge").mean for row in measured])
        correlation = np.mean([float(row.draws("correlation")) for row in measured])
        cells[variant.replace("_", " ")] = [
            float(curves[:, -1].mean()),
            f"{100 * curves[:, 0].mean():.1f}",
            float(np.mean([run.validation for run in own])) if own else None,
            f"{correlation:.2f}",
            f"{max(run.largest_gradient for run in own):.2g}" if own else None,
            str(len(own)) if own else None,
        ]
    columns = ["held-out digits", "random network", "as the run sees it"]
    return Table([*columns, "correlation", "gradient", "seeds"], {"": cells}, mean=False)


def check(accuracy: Mapping[str, Mapping[int, float]], claim: Claim) -> Check:
    """Whether the difference of accuracies over the seeds that both have bears a claim out."""
    better, worse = (accuracy.get(name, {}) for name in claim[1:])
    pairs = [100 * (better[seed] - worse[seed]) for seed in sorted(better.keys() & worse.keys())]
    if not pairs:
        return Check(claim.text, "not measured", None)
    if len(pairs) == 1:
        return Check(claim.text, f"{pairs[0]:+.1f} points, one seed", None)
    found = over_draws(pairs)
    return Check(claim.text, f"{found}, {len(pairs)} seeds", found.held)
