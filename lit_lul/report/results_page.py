"""The report on learners: for each probe a table, the losses of each learner, and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lit_lul.evaluation.baselines import BASELINES, RANDOM_NETWORK
from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.features import CENTROIDS, COMPONENTS
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.atomic import replace_file
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.results_figure import draw_report
from lit_lul.report.stored_rows import Row

RANDOM_INITIALISATION = "random initialisation"


@dataclass(frozen=True)
class Report:
    """The content of a report.

    Attributes:
        command: the command that measures everything in it.
        precision: precision of the hidden states.
        ridge: the ridge probe.
        held_out: entries of the configuration, by dataset.
        rules: names of the rules.
        embedding_units: E of all rules.
        rows: rows by dataset, baselines first and rules last; None if not all are measured.
    """

    command: str
    precision: str
    ridge: FewShotRidge
    held_out: Mapping[str, HeldOut]
    rules: Sequence[str]
    embedding_units: int
    rows: Mapping[str, Mapping[str, Row] | None]

    def measured(self, probe: str) -> dict[str, dict[str, Row]]:
        """Rows by dataset and name, of the complete datasets that have the probe."""
        return {
            dataset: _with_initialisation(rows)
            for dataset, rows in self.rows.items()
            if rows is not None and probe in self.held_out[dataset].probes
        }

    def probes(self) -> list[str]:
        """Probes with which at least one dataset is measured."""
        return [probe for probe in ("ridge", "logistic") if self.measured(probe)]


def _with_initialisation(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Rows with the network at random initialisation inserted after the baselines."""
    baselines = {name: rows[name] for name in BASELINES}
    rules = {name: row for name, row in rows.items() if name not in baselines}
    return baselines | {RANDOM_INITIALISATION: next(iter(rules.values())).at_start()} | rules


def write_report(report: Report, out: Path) -> None:
    """Write the markdown, and the figures into the folder of the same name.

    Args:
        report: the content.
        out: the markdown file.

    Raises:
        InvalidInput: when a file cannot be written.
    """
    parts = [_introduction(report, out)]
    for probe in report.probes():
        measured = report.measured(probe)
        picture = out.with_suffix("") / f"{probe}.png"
        with replace_file(picture) as temporary:
            draw_report(probe, measured).savefig(temporary, format="png", dpi=110)
        parts += [
            f"## {probe.capitalize()}",
            table(measured, probe, report.held_out),
            "\n".join(f"- {losses(report.rules, rule, measured, probe)}" for rule in report.rules),
            f"![{probe}: accuracy against inner steps]({picture.relative_to(out.parent)})",
        ]
    with replace_file(out) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")


def table(
    measured: Mapping[str, Mapping[str, Row]], probe: str, held_out: Mapping[str, HeldOut]
) -> str:
    """A markdown table: a row per dataset, a column per baseline and rule, the best in bold."""
    names = list(next(iter(measured.values())))
    lines = [["dataset", "protocol", "inner steps", *names], ["---"] * (3 + len(names))]
    for dataset, rows in measured.items():
        curves = [rows[name].curve(probe) for name in names]
        best = max(curve.mean[-1] for curve in curves)
        cells = [_cell(curve, curve.mean[-1] == best) for curve in curves]
        protocol = held_out[dataset].protocol
        lines.append([dataset, protocol, f"{curves[-1].steps[-1]:,}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(curve: Curve, best: bool) -> str:
    cell = f"{curve.mean[-1]:.1%} ± {curve.standard_error[-1]:.1%}"
    return f"**{cell}**" if best else cell


def losses(
    rules: Sequence[str], rule: str, measured: Mapping[str, Mapping[str, Row]], probe: str
) -> str:
    """One line: the datasets on which something other than a trained rule beats the rule.

    The difference is over the same draws, with the standard error of the pairs.
    """
    beaten = []
    for dataset, rows in measured.items():
        others = [name for name in rows if name not in rules]
        best = max(others, key=lambda name: rows[name].curve(probe).mean[-1])
        pairs = rows[best].draws(probe)[-1:] - rows[rule].draws(probe)[-1:]
        difference = Curve.of((0,), 100 * pairs)
        if difference.mean[0] > 0:
            points = f"{difference.mean[0]:.1f} ± {difference.standard_error[0]:.1f}"
            beaten.append(f"{dataset} (to {best}, by {points} points)")
    return f"`{rule}` loses on {', '.join(beaten)}." if beaten else f"`{rule}` loses nowhere."


def _introduction(report: Report, out: Path) -> str:
    missing = [dataset for dataset, rows in report.rows.items() if rows is None]
    protocols: dict[str, list[str]] = {}
    for dataset, rows in report.rows.items():
        if rows is not None:
            protocols.setdefault(_protocol(report.held_out[dataset]), []).append(dataset)
    lines = "\n".join(f"- {', '.join(names)}: {text}" for text, names in protocols.items())
    return f"""# Results on held-out data

```sh
{report.command}
```

Few-shot accuracy on data that meta-training never sees, mean ± standard error over the draws. Every
draw has its own φ, permutation of the inputs, labels and test examples, the same for all columns;
rules learn from the training split without labels, and all features are probed on the test split.

{lines}

*Inductive* embeds every labelled row alone, with batch-norm statistics of unlabelled rows that stay
fixed; *transductive* has the labelled rows of a draw share their own statistics, balanced by class
as they are.

*Ridge* is the objective's regression (λ = {report.ridge.ridge:g}), *logistic* scikit-learn's
logistic regression. *PCA* has {COMPONENTS} components, *k-means* {CENTROIDS} centroids with
triangle activation (Coates & Ng, 2012), both fitted to the training split; *{RANDOM_NETWORK}* is
all activations of the network that rules start from, always inductive; no features are whitened or
standardised. Networks have an embedding of {report.embedding_units} units. The untrained rule has
the settings of the trained one and θ as it is initialised; rules count after the last inner step,
with hidden states in {report.precision}. The best of each line is bold. Below each table is what
beats a rule without being a trained one, the strongest per dataset, and by how much on the same
draws. The accuracy of every draw at every probed step is in
`{out.stem}/<dataset>.json`.{_not_measured(missing)}"""


def _not_measured(datasets: Sequence[str]) -> str:
    return f"\n\nNot measured yet: {', '.join(datasets)}." if datasets else ""


def _protocol(held_out: HeldOut) -> str:
    """The settings that may differ between datasets."""
    statistics = f" (statistics of up to {held_out.statistics_rows:,} rows)"
    return (
        f"{held_out.protocol}{statistics if held_out.protocol == 'inductive' else ''}, "
        f"{held_out.labels_per_class} labels and up to {held_out.tests_per_class} test examples "
        f"per class, {held_out.draws} draws of seed {held_out.seed}, `{held_out.networks}`, "
        f"minibatches of {held_out.batch_size}"
    )
