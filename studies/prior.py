"""The command `report prior`: what the synthetic prior is like, beside real datasets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import BASELINES, measure_baselines
from lit_lul.evaluation.datasets import world
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.comparison import MORE
from lit_lul.report.page import Page, Picture, Table
from lit_lul.report.rows import Numbers, digest
from lit_lul.report.study import Measurement, Part, Study, page_path, spell
from lit_lul.report.suite import load_suite

FEATURES = ("raw inputs", "PCA", "k-means")
EMBEDDING_UNITS = 32
SHOWN = 8
LARGEST = 64
"""Number of inputs whose correlations are shown."""
QUANTILES = {
    "least": 0,
    "a quarter below": 1 / 4,
    "median": 1 / 2,
    "a quarter above": 3 / 4,
    "most": 1,
}


@dataclass
class Profiles(Part[Numbers]):
    """Baselines on datasets: their skill is 0 for chance and 1 for no error."""

    name: str
    entries: Mapping[str, HeldOut]
    load: Callable[[str], HeldOutData]
    kind = Numbers

    def measurements(self) -> list[Measurement[Numbers]]:
        """One for each dataset."""
        keys = {
            name: digest([name, held_out.describe(), FEATURES, EMBEDDING_UNITS])
            for name, held_out in self.entries.items()
        }
        return [Measurement(n, key, 1.0, partial(self._measure, n, key)) for n, key in keys.items()]

    def protocol(self) -> object:
        """Settings of the datasets."""
        return {name: held_out.describe() for name, held_out in self.entries.items()}

    def _measure(self, name: str, key: str) -> Numbers:
        data, held_out = self.load(name), self.entries[name]
        baselines = {feature: BASELINES[feature] for feature in FEATURES}
        measured = measure_baselines(FewShotRidge(), data, held_out, EMBEDDING_UNITS, baselines)
        chance = 1 / data.n_classes
        skill = {
            f"{feature}, {probe}": (float(of_draws.mean()) - chance) / (1 - chance)
            for feature, accuracy in measured.items()
            for probe, of_draws in zip(held_out.probes, accuracy, strict=True)
        }
        return Numbers(key, {"inputs": data.x.shape[1], "classes": data.n_classes, "skill": skill})


def prior(
    worlds: int = 30,
    config: Path = Path("configs/suite.yaml"),
    out: Path = Path("docs/prior.md"),
) -> None:
    """Show worlds of the synthetic prior, and baselines on them and on real datasets.

    Args:
        worlds: number of worlds, none of them used in meta-training.
        config: the suite's configuration, of which the development half is measured.
        out: the page, a markdown file; a folder beside it gets the numbers and pictures.

    Raises:
        InvalidInput: for an invalid option or configuration.
    """
    out = page_path(out)
    if worlds < 1:
        raise InvalidInput(f"--worlds must be at least 1, got {worlds}")
    suite = load_suite(config, "development")
    if not suite.entries:
        raise InvalidInput(f"{config}: expected datasets under development")
    some = next(iter(suite.entries.values()))[0]
    settings = replace(some, images=None, text=None, classes=None, unlabelled_classes="all")
    entries = {n: p[0] for n, p in suite.entries.items() if len(p) == 1 and not n.endswith(MORE)}
    parts = [
        Profiles(
            "worlds", dict.fromkeys(map(str, range(worlds)), settings), lambda n: world(int(n))
        ),
        Profiles("datasets", entries, lambda n: entries[n].load(suite.machine.data_root)),
    ]
    command = spell("prior", worlds=worlds, config=config, out=out)
    Study("prior", parts, partial(prior_page, command, settings)).run(out)


def prior_page(command: str, settings: HeldOut, rows: Mapping[str, Mapping[str, Numbers]]) -> Page:
    """The page: skill of baselines on quantiles of the worlds and on every dataset."""
    keys = [f"{feature}, {probe}" for probe in settings.probes for feature in FEATURES]
    profiles = {
        group: {
            name: [row.values["inputs"], row.values["classes"], *map(row.values["skill"].get, keys)]
            for name, row in of_group.items()
        }
        for group, of_group in rows.items()
    }
    worlds = np.array([*profiles["worlds"].values()])
    shown = {name: np.quantile(worlds, q, axis=0).tolist() for name, q in QUANTILES.items()}
    groups = {
        group: {
            name.replace("_", " "): [f"{inputs:.0f}", f"{classes:.0f}", *skill]
            for name, (inputs, classes, *skill) in of_group.items()
        }
        for group, of_group in {"worlds": shown, "datasets": profiles["datasets"]}.items()
    }
    columns = ["inputs", "classes", *(key.replace("_cv", "") for key in keys)]
    points = {
        group: {name: (profile[-len(FEATURES)], profile[-1]) for name, profile in of_group.items()}
        for group, of_group in profiles.items()
    }
    probe, ranges = settings.probes[-1].removesuffix("_cv"), {}
    for group, of_group in points.items():
        low, median, high = np.quantile([y for _, y in of_group.values()] or [0], [0, 0.5, 1])
        ranges[group] = f"{low:.0%} to {high:.0%} (median {median:.0%})"
    figure = draw_worlds([world(number) for number in range(min(SHOWN, len(worlds)))])
    picture = Picture("profiles", draw_profiles(points, probe), "Worlds and real datasets")
    made = Picture("worlds", figure, "Correlations of inputs, and principal components by class")
    return Page(
        "The synthetic prior, beside real datasets",
        f"The skill of k-means, {probe}, is {ranges['worlds']} on worlds of the prior, and "
        f"{ranges['datasets']} on real datasets.",
        command,
        [picture],
        {
            "Skill of baselines": [Table(columns, groups, best="", mean=False)],
            f"{min(SHOWN, len(worlds))} worlds": [made],
        },
        f"""Worlds are random generators of rows, see `lit_lul/data/prior`; meta-training draws
others than these. Few-shot accuracy of baselines with {settings.labels_per_class} labels per class,
mean over {settings.draws} draws, in percent of the way from chance to no error, so that tasks of
unlike numbers of classes can be compared. Each column has quantiles of its own over the worlds.""",
    )


def draw_worlds(worlds: Sequence[HeldOutData]) -> Figure:
    """Correlations of inputs, and two principal components of rows by class, for each world."""
    figure = Figure(figsize=(2.2 * len(worlds), 4.6), layout="constrained")
    plots = figure.subplots(2, len(worlds), squeeze=False)
    for (above, below), data in zip(plots.T, worlds, strict=True):
        rows = data.x.float().numpy() * data.scale
        with np.errstate(invalid="ignore", divide="ignore"):  # inputs may be constant
            correlation = np.nan_to_num(np.corrcoef(rows[:, :LARGEST].T))
        above.imshow(correlation, cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest")
        above.set_title(f"{rows.shape[1]} inputs\n{data.n_classes} classes", fontsize="small")
        points = PCA(2, random_state=0).fit_transform(rows)
        below.scatter(*points.T, c=data.labels.numpy(), cmap="tab20", s=2)
        for axes in (above, below):
            axes.set(xticks=[], yticks=[])
    return figure


def draw_profiles(points: Mapping[str, Mapping[str, tuple[float, float]]], probe: str) -> Figure:
    """Skill of k-means against that of raw inputs: worlds are grey, datasets are named."""
    figure = Figure(figsize=(6, 5.5), layout="constrained")
    axes = figure.add_subplot()
    axes.axline((0, 0), slope=1, color="0.8")
    for (group, of_group), color in zip(points.items(), ("0.6", "C3"), strict=True):
        if of_group:
            axes.scatter(*zip(*of_group.values(), strict=True), color=color, label=group)
    for name, point in points["datasets"].items():
        axes.annotate(name, point, xytext=(4, 4), textcoords="offset points", fontsize="small")
    axes.set(xlabel=f"raw inputs, {probe}: 0 chance, 1 no error", ylabel=f"k-means, {probe}")
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure
