"""The command `report prior`: what the synthetic prior is like, beside real datasets."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.baselines import measure_baselines
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.made_rows import world
from lit_lul.files.atomic import replace_file
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.page_path import page_path
from lit_lul.report.suite_config import load_suite
from lit_lul.report.suite_page import MORE
from studies.prior.prior_figures import draw_profiles, draw_worlds

FEATURES = ("raw inputs", "PCA", "k-means")
EMBEDDING_UNITS = 32
SHOWN = 8
QUANTILES = {"least": 0.0, "a quarter below": 0.25, "median": 0.5, "a quarter above": 0.75}
QUANTILES |= {"most": 1.0}


@dataclass(frozen=True)
class Profile:
    """Baselines on one dataset.

    Attributes:
        inputs: N_0.
        classes: C.
        skill: accuracy by probe and baseline, from 0 for chance to 1.
    """

    inputs: int
    classes: int
    skill: dict[tuple[str, str], float]

    @classmethod
    def of(cls, data: HeldOutData, held_out: HeldOut) -> "Profile":
        """Measure a dataset.

        Raises:
            InvalidInput: when a class has too few examples.
        """
        measured = measure_baselines(FewShotRidge(), data, held_out, EMBEDDING_UNITS, FEATURES)
        chance = 1 / data.n_classes
        skill: dict[tuple[str, str], float] = {
            (probe, name): (float(of_draws.mean()) - chance) / (1 - chance)
            for name, accuracy in measured.items()
            for probe, of_draws in zip(held_out.probes, accuracy, strict=True)
        }
        return cls(data.x.shape[1], data.n_classes, skill)


def prior(
    worlds: int = 30,
    config: Path = Path("configs/suite.yaml"),
    out: Path = Path("docs/prior.md"),
) -> None:
    """Show worlds of the synthetic prior, and baselines on them and on real datasets.

    Args:
        worlds: number of worlds, none of them used in meta-training.
        config: the suite's configuration, of which the development half is measured.
        out: the page, a markdown file; a folder beside it gets the pictures.

    Raises:
        InvalidInput: for an invalid option or configuration.
    """
    out = page_path(out)
    if worlds < 1:
        raise InvalidInput(f"--worlds {worlds}: expected 1 or more")
    suite = load_suite(config, "development")
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    some = next(iter(suite.entries.values()))[0]
    settings = replace(some, images=None, text=None, classes=None, unlabelled_classes="all")
    of_worlds = [
        Profile.of(world(number), settings)
        for number in track(range(worlds), "Worlds", console=console)
    ]
    of_datasets, missing = {}, []
    entries = {n: p[0] for n, p in suite.entries.items() if len(p) == 1 and not n.endswith(MORE)}
    for name, held_out in track(entries.items(), "Datasets", console=console):
        try:
            data = held_out.load(suite.data_root)
        except InvalidInput as error:
            missing.append(f"{name} is left out: {error}.")
            continue
        of_datasets[name] = Profile.of(data, held_out)
    folder = out.with_suffix("")
    pictures = {
        "worlds": draw_worlds([world(number) for number in range(min(SHOWN, worlds))]),
        "profiles": draw_profiles(
            [_point(profile) for profile in of_worlds],
            {name: _point(profile) for name, profile in of_datasets.items()},
        ),
    }
    for name, figure in pictures.items():
        with replace_file(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=110)
    command = ["python", "-m", "lit_lul", "report", "prior", "--worlds", str(worlds)]
    command += ["--config", str(config), "--out", str(out)]
    text = _page(shlex.join(command), settings, of_worlds, of_datasets, folder.name)
    with replace_file(out) as temporary:
        temporary.write_text("\n\n".join([text, *missing]) + "\n")
    console.print(f"prior in {out}")


def _point(profile: Profile) -> tuple[float, float]:
    """Skill of raw inputs and of k-means by the last probe."""
    probe = [*profile.skill][-1][0]
    return profile.skill[probe, "raw inputs"], profile.skill[probe, "k-means"]


def _page(
    command: str,
    held_out: HeldOut,
    of_worlds: list[Profile],
    of_datasets: Mapping[str, Profile],
    folder: str,
) -> str:
    keys = [(probe, name) for probe in held_out.probes for name in FEATURES]
    header = [f"{name}, {probe.removesuffix('_cv')}" for probe, name in keys]
    lines = [["", "inputs", "classes", *header], ["---"] * (3 + len(keys))]
    columns = [[p.inputs for p in of_worlds], [p.classes for p in of_worlds]]
    skills = [[p.skill[key] for p in of_worlds] for key in keys]
    for label, share in QUANTILES.items():
        sizes = [f"{np.quantile(values, share):.0f}" for values in columns]
        lines.append([f"*worlds, {label}*", *sizes, *_cells(np.quantile(s, share) for s in skills)])
    for name, profile in of_datasets.items():
        sizes = [str(profile.inputs), str(profile.classes)]
        lines.append([name, *sizes, *_cells(profile.skill[key] for key in keys)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"""# The synthetic prior, beside real datasets

```sh
{command}
```

Worlds are random generators of rows, see `lit_lul/data/prior`. Meta-training draws others than the
{len(of_worlds)} here.

![Correlation of inputs and principal components of worlds]({folder}/worlds.png)

*{SHOWN} worlds: above the correlations of their inputs, below the first two principal components of
rows, coloured by class.*

Few-shot accuracy of baselines with {held_out.labels_per_class} labels per class, mean over
{held_out.draws} draws, on a scale on which 0 is chance and 100% no error, so that tasks of unlike
numbers of classes can be compared. Each column has quantiles of its own over the worlds.

{table}

![Skill of raw inputs and k-means, worlds and datasets]({folder}/profiles.png)"""


def _cells(values: Iterable[float]) -> list[str]:
    return [f"{value:.0%}" for value in values]
