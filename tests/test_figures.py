"""The paper's figures: panels that resume, what the page says, the statistics of its checks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.theta import load_rule, save_learner
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLPs
from lit_lul.report.page import Difference
from lit_lul.report.study import Machine, load_rules
from studies.figures import measurements
from studies.figures.command import load_figures, make_context, make_page
from studies.figures.dimensions import between, cumulative
from studies.figures.filters import neighbours
from studies.figures.kept_thetas import hours_of, load_thetas
from studies.figures.measurements import RIDGE, Context
from studies.figures.orders import sort_inputs
from studies.figures.panel import MeasuredPanel, over_draws, within

CONFIG = """
thetas: 2
shared:
  networks: {class_path: MLPs, init_args: {hidden_layers: [1, 1], hidden_units: [5, 5]}}
  inner_steps: 2
  points: 1
  batch_size: 6
  labels_per_class: 2
  tests_per_class: 5
  draws: 2
datasets:
  digits: {}
  again: {seed: 1}
  moons: {dataset: moons-thin}
mismatch: {dataset: digits, steps: 3}
prototypes:
  {datasets: {digits: [digits, digits, digits]}, episodes: 2, test_episodes: 2, seeds: 2}
orders: {datasets: [digits]}
meta_training: {seen: [digits], held_out: [moons], text: again}
few_labels: {datasets: [digits], vae_steps: 3, supervised_steps: 3}
sizes: {dataset: digits, widths: [4, 8, 9], few_draws_above: 4, layers: 1, depths: [1, 2],
  units: 4, trained_widths: [4, 5]}
activations: {dataset: digits, layers: 1, units: 4, activations: [relu, leaky_relu, swish, step]}
filters: {datasets: [digits], inner_steps: 1}
dimensions: {datasets: [moons, digits]}
quick: {shared: {inner_steps: 1}}
"""
CHECKS = [
    *(("mismatch", 2), ("prototypes", 2), ("orders", 1), ("meta_training", 4), ("few_labels", 3)),
    *(("sizes", 2), ("activations", 3), ("filters", 1), ("dimensions", 3)),
]
"""Panels, and how many checks they have with one rule."""


def write_rule(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    settings = UpdateSettings(
        hidden_channels=4, error_channels=3, top_channels=4, embedding_units=6, inner_rate=0.03
    )
    save_learner(UnsupervisedUpdate(settings), path)


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
    return Path(out).read_text() if Path(out).exists() else ""


def rows_of(panel: str, folder: str = "out/figures") -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(Path(f"{folder}/{panel}.json").read_text())["rows"]
    return rows


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a rule, a run and a configuration; the hub is not asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_rule(Path("mine.safetensors"), seed=5)
    write_run(Path("run"))
    Path("figures.yaml").write_text(CONFIG)


def context_of(rules: list[str]) -> tuple[Context, list[MeasuredPanel[Any]]]:
    """Rules and data of the tests' configuration, and its panels."""
    settings, machine = load_figures(Path("figures.yaml"))
    settings = replace(settings, run=Path("run"))
    context = make_context(rules, load_rules(rules), settings, machine)
    return context, [MeasuredPanel(panel, context) for panel in settings.panels]


@pytest.mark.parametrize(("name", "checks"), CHECKS)
def test_a_panel_draws_and_checks_what_is_measured(name: str, checks: int) -> None:
    context, panels = context_of(["mine.safetensors"])
    panel = next(panel for panel in panels if panel.name == name)
    rows = {one.name: one.measure() for one in panel.measurements()}
    assert len(rows) == len(panel.measurements())
    make_page("command", context, [panel], {name: rows}).write(Path("page.md"))
    page = Path("page.md").read_text()
    assert page.count("\n- **") == checks
    assert "\n*The paper:* " in page and "\n*Protocol:* " in page
    for kind in ("png", "svg"):
        assert Path(f"page/{name}.{kind}").stat().st_size > 1000
    first = dict([next(iter(rows.items()))])
    make_page("command", context, [panel], {name: first})  # partly measured


def test_an_interrupted_panel_resumes_with_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = figures("--only", "orders", "3", out="whole/figures.md")
    assert "Of the paper's claims about a rule, `mine` meets " in page
    assert "meta_training is left out: --run: expected the folder of a run that kept θ." in page
    whole = rows_of("orders", "whole/figures")
    calls = []

    def killed(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return roll_out_draws(*args)

    monkeypatch.setattr(measurements, "roll_out_draws", killed)
    with pytest.raises(KeyboardInterrupt):
        figures("--only", "orders")
    assert len(rows_of("orders")) == 2
    assert "or not all of it: mismatch, prototypes, orders" in Path("out/figures.md").read_text()
    figures("--only", "orders")
    assert rows_of("orders") == whole
    assert len(calls) == 1 + len(whole), "what was measured is not measured again"
    write_rule(Path("mine.safetensors"), seed=6)
    figures("--only", "orders")
    assert len(calls) == 1 + 2 * len(whole), "another θ has other numbers"
    figures("--only", "orders", "--quick", out="fast/figures.md")
    assert not Path("fast/figures.md").exists(), "a quick look has files of its own"


def test_rows_are_those_of_held_out_evaluation() -> None:
    figures("--only", "activations")
    settings, _ = load_figures(Path("figures.yaml"))
    held_out = replace(settings.datasets["digits"], networks=MLPs((1, 1), (4, 4), "swish"))
    rule = load_rule("mine.safetensors")
    accuracy = roll_out_draws(rule, RIDGE, held_out.load(None), held_out, range(2)).accuracy
    assert rows_of("activations")["mine, swish"]["accuracy"]["ridge"] == accuracy[0].tolist()


def test_errors_are_one_line() -> None:
    with pytest.raises(InvalidInput, match=r"--only 7: expected some of 2, 3, 4, 5, 6, mismatch"):
        figures("--only", "7")
    Path("figures.yaml").write_text("sizes: {widths: wide}")
    with pytest.raises(InvalidInput, match=r"^figures.yaml: .*widths.*$"):
        figures()


@pytest.mark.parametrize("quick", [False, True])
def test_the_configuration_that_ships_names_its_datasets(quick: bool) -> None:
    settings, _ = load_figures(Path("configs/figures.yaml"), quick)
    settings = replace(settings, run=Path("run"))
    rules = ["mine.safetensors"]
    context = make_context(rules, load_rules(rules), settings, Machine("float32", False, None))
    for panel in [MeasuredPanel(panel, context) for panel in settings.panels]:
        assert panel.protocol()
        names = [one.name for one in panel.measurements()]
        assert len(set(names)) == len(names)
    assert settings.datasets["mnist14"].inner_steps == (20 if quick else 120)


def test_accuracies_are_alike_within_points_that_the_errors_leave() -> None:
    gaps = {name: Difference(*gap) for name, gap in {"a": (1, 0.1), "b": (-1.9, 0.3)}.items()}
    assert [check.held for check in within("same", {"a": gaps["a"]})] == [True]
    assert [check.held for check in within("same", gaps)] == [None]
    assert [check.held for check in within("same", {"c": Difference(-9, 1)})] == [False]
    assert within("same", {}) == []
    assert over_draws([5.0, 15.0]) == pytest.approx((10, 5))


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


def test_inputs_are_sorted_by_their_means() -> None:
    means = sort_inputs(HeldOut().load(None)).unlabelled.float().mean(0)
    assert (means.diff() >= 0).all()
