"""The paper's figures: panels that resume, what the page says, the statistics of its checks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul
from omegaconf import OmegaConf
from test_configs import CONFIGS
from test_results import write_rule

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.small_tables import digits
from lit_lul.files.theta import load_rule
from lit_lul.networks import MLPs
from lit_lul.report.rules import untrained
from lit_lul.report.stored_rows import Row
from studies.figures import context
from studies.figures.config import load_figures, make_panels
from studies.figures.context import RIDGE, Context
from studies.figures.dimensions import between, cumulative
from studies.figures.filters import neighbours
from studies.figures.orders import sort_inputs
from studies.figures.panel import Difference, difference, every
from studies.figures.run_thetas import hours_of, load_thetas

SMALL = {"class_path": "MLPs", "init_args": {"hidden_layers": [1, 1], "hidden_units": [5, 5]}}
CONFIG: dict[str, Any] = {
    "thetas": 2,
    "shared": {
        "networks": SMALL,
        "inner_steps": 2,
        "points": 1,
        "batch_size": 6,
        "labels_per_class": 2,
        "tests_per_class": 5,
        "draws": 2,
    },
    "datasets": {
        "digits": {},
        "moons": {"dataset": "moons-thin"},
        "absent": {"images": {"dataset": "nowhere/at-all"}},
    },
    "mismatch": {"dataset": "digits", "steps": 3},
    "prototypes": {
        "datasets": {"digits": ["digits", "digits", "digits"]},
        "episodes": 2,
        "test_episodes": 2,
        "seeds": 2,
    },
    "orders": {"datasets": ["digits"]},
    "meta_training": {"seen": ["digits"], "held_out": ["moons", "absent"], "text": "digits"},
    "few_labels": {"datasets": ["digits"], "vae_steps": 3, "supervised_steps": 3},
    "transfer": {
        "dataset": "digits",
        "widths": [4, 8],
        "few_draws_above": 4,
        "layers": 1,
        "depths": [1, 2],
        "units": 4,
        "activations": ["relu", "leaky_relu", "swish", "step"],
        "trained_widths": [4, 5],
    },
    "filters": {"datasets": ["digits"], "inner_steps": 1},
    "dimensions": {"datasets": ["moons", "digits"]},
    "quick": {"transfer": {"widths": [4]}},
}
PANELS = {
    "mismatch": "Figure 2 left",
    "prototypes": "Figure 2 right",
    "orders": "Section 4.2",
    "meta_training": "Figures 3 and 4 right",
    "few_labels": "Figure 4 left",
    "sizes": "Figure 5 left",
    "activations": "Figure 5 right",
    "filters": "Figure 6 left",
    "dimensions": "Figure 6 centre and right",
}


def write_config(**changes: Any) -> None:
    OmegaConf.save(OmegaConf.create(CONFIG | changes), "figures.yaml")


def write_run(folder: Path) -> None:
    """A run of four outer steps that kept θ after the second and after the last."""
    for step in (2, 4):
        write_rule(folder / f"checkpoints/mean_theta_{step:06}.safetensors", seed=step)
    (folder / "config.yaml").write_text("trainer: {max_steps: 4}\n")
    rows = ["step,train/hours_left,val/accuracy", "1,3.0,", "2,4.0,", "2,,0.5", "4,0.0,"]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")


def figures(*options: str, out: str = "out/figures.md") -> str:
    """Run the command; the page."""
    fixed = ["--rules", "mine.safetensors", "--config", "figures.yaml", "--out", out]
    lit_lul("report", "figures", *fixed, *options)
    return Path(out).read_text()


def rows_of(panel: str) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(Path(f"out/figures/{panel}.json").read_text())["rows"]
    return rows


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a rule, a run and a configuration; the hub is not asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_rule(Path("mine.safetensors"), seed=5)
    write_run(Path("run"))
    write_config()


def test_the_page_has_every_panel_with_its_checks(capsys: pytest.CaptureFixture[str]) -> None:
    page = figures("--run", "run")
    for name, title in PANELS.items():
        section = page.partition(f"## {title}")[2].partition("\n## ")[0]
        assert "- *The paper:* " in section and "- *Here:* " in section, name
        assert "held**: " in section, name
        assert f"(figures/{name}.png)" in section
        for kind in ("png", "svg"):
            assert Path(f"out/figures/{name}.{kind}").stat().st_size > 1000
    along = page.partition("## Figures 3 and 4 right")[2].partition("\n## ")[0]
    assert along.count("Left out: ") == 1, "one line for all θ on an absent dataset"
    assert "4 outer steps in 7.00 hours (`run`" in along
    assert "meta_training: absent, 0 left out (" in capsys.readouterr().err
    assert "5.3·10⁸ inner steps" in page and "estimated at 0.0\nhours" in page


def test_an_interrupted_panel_resumes_with_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures("--only", "sizes", out="whole/figures.md")
    whole = json.loads(Path("whole/figures/sizes.json").read_text())["rows"]
    calls = []

    def killed(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return roll_out_draws(*args)

    monkeypatch.setattr(context, "roll_out_draws", killed)
    with pytest.raises(KeyboardInterrupt):
        figures("--only", "sizes")
    assert len(rows_of("sizes")) == 2
    assert "Not all of it is measured yet." in Path("out/figures.md").read_text()
    page = figures("--only", "sizes")
    assert rows_of("sizes") == whole
    assert len(calls) == 1 + len(whole), "what was measured is not measured again"
    assert "Not measured yet: mismatch, prototypes, orders" in page
    write_rule(Path("mine.safetensors"), seed=6)
    figures("--only", "sizes")
    assert len(calls) == 1 + 2 * len(whole), "another θ has other numbers"


def test_rows_are_those_of_held_out_evaluation() -> None:
    figures("--only", "activations")
    entry = load_figures(Path("figures.yaml"), quick=False).datasets["digits"]
    held_out = replace(entry, networks=MLPs((1, 1), (4, 4), "swish"))
    rule = load_rule("mine.safetensors")
    accuracy = roll_out_draws(rule, RIDGE, digits(), held_out, range(2)).accuracy
    assert rows_of("activations")["mine, swish"]["accuracy"]["ridge"] == accuracy[0].tolist()


def test_without_a_run_its_panels_have_one_line() -> None:
    page = figures("--only", "3", "6")
    section = page.partition("## Figures 3 and 4 right: along meta-training\n\n")[2]
    first = "Left out: --run: expected the folder of a run that kept θ."
    assert section.splitlines()[0] == first
    assert "Neighbours: digits " in page, "filters of the rules need no run"
    write_config(orders={"datasets": ["letters"]})
    assert "Left out: dataset letters: expected one of digits" in figures("--only", "orders")


def test_quick_has_files_of_its_own() -> None:
    lit_lul(
        *("report", "figures", "--rules", "mine.safetensors", "--config", "figures.yaml"),
        *("--out", "out/figures.md", "--quick", "--only", "sizes"),
    )
    assert not Path("out/figures.md").exists()
    rows = json.loads(Path("out/figures_quick/sizes.json").read_text())["rows"]
    assert list(rows) == ["mine, width 4", "mine, depth 1", "mine, depth 2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "7"], "--only 7: expected some of 2, 3, 4, 5, 6, mismatch"),
        (["--out", "page"], "--out page: expected a name that ends in .md"),
        (["--config", "odd.yaml"], "odd.yaml: unknown widths"),
        (["--config", "bad.yaml"], "bad.yaml: "),
    ],
)
def test_errors_are_one_line(options: list[str], message: str) -> None:
    Path("odd.yaml").write_text("widths: [3]\n")
    Path("bad.yaml").write_text("transfer: {widths: wide}\n")
    with pytest.raises(InvalidInput) as raised:
        figures(*options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_configuration_that_ships_names_its_datasets() -> None:
    for quick in (False, True):
        config = load_figures(CONFIGS / "figures.yaml", quick)
        rule = load_rule("small")
        thetas = [theta._replace(learner=rule) for theta in load_thetas(Path("run"), 2)]
        of = Context(
            {"small": rule}, untrained(rule), config.datasets, config.precision, None, thetas
        )
        panels = make_panels(config, of)
        assert [panel.name for panel in panels] == list(PANELS)
        for panel in panels:
            assert panel.protocol()
            names = [one.name for one in panel.measurements()]
            assert len(set(names)) == len(names)
    assert config.datasets["mnist14"].inner_steps == 20


def row(*draws: float) -> Row:
    return Row("", [0], {"ridge": [list(draws)]})


def test_a_check_holds_where_every_difference_is_clear() -> None:
    clear = difference(row(0.7, 0.9), row(0.5, 0.7))
    assert clear.mean == pytest.approx(20) and clear.error == pytest.approx(0)
    noisy = difference(row(0.7, 0.9), row(0.5, 1.0))
    assert noisy == pytest.approx((5, 15))
    assert every("better", {"a": clear}).held
    check = every("better", {"a": clear, "b": noisy})
    assert not check.held
    assert check.numbers == "least +5.0 ± 15.0 points (b); not at b"
    assert not Difference(-20, 0.1).positive


def test_neighbours_tell_templates_from_noise() -> None:
    noise = torch.randn(200, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    assert neighbours(noise).mean().abs() < 0.02
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1)
    assert neighbours(smooth).mean() > 0.6


def test_dimensions_and_classes_of_an_embedding() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 6))
    assert cumulative(plane)[1] == pytest.approx(1)
    labels = np.arange(50) % 2
    assert between(np.stack([labels, labels], 1).astype(float), labels) == pytest.approx(1)
    assert between(rng.normal(size=(50, 6)), labels) < 0.2


def test_hours_are_those_of_the_log() -> None:
    # an hour for the first outer step, two for each of the others
    assert hours_of(Path("run"), [1, 2, 3, 4]) == {1: 1.0, 2: 3.0, 3: 5.0, 4: 7.0}
    assert [theta.outer_step for theta in load_thetas(Path("run"), 5)] == [2, 4]
    with pytest.raises(InvalidInput, match="nowhere: expected a run's folder"):
        load_thetas(Path("nowhere"), 2)


def test_inputs_are_intact_or_sorted_where_asked() -> None:
    held_out = HeldOut(tests_per_class=5, draws=2)
    data, like = digits(), torch.empty(0)
    permuted, intact = (
        Draws(data, replace(held_out, permuted=p), [0, 1], like) for p in (True, False)
    )
    assert torch.equal(intact.permutation, torch.arange(64).expand(2, -1))
    assert torch.equal(intact.query_labels, permuted.query_labels)
    order = permuted.permutation.argsort(-1)[:, None]
    x = permuted.labelled.query_x[0]
    assert torch.equal(x.gather(-1, order.expand(x.shape)), intact.labelled.query_x[0])
    means = sort_inputs(data).unlabelled.float().mean(0)
    assert (means.diff() >= 0).all()
