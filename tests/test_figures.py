"""The paper's figures: panels that resume, what the page says, the statistics of its checks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul, without_hub

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import roll_out_draws
from lit_lul.evaluation.draws import Draws
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.files.theta import save_learner
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings
from lit_lul.networks import MLPs
from lit_lul.report.page import Difference
from lit_lul.report.study import Machine, load_rules
from studies.checks import over_draws, within
from studies.figures import measurements
from studies.figures.command import load_figures, make_context, make_page
from studies.figures.dimensions import between, cumulative
from studies.figures.filters import neighbours
from studies.figures.kept_thetas import hours_of, load_thetas
from studies.figures.measurements import RIDGE, Context
from studies.figures.orders import sort_inputs
from studies.figures.panel import MeasuredPanel

CONFIG = """
thetas: 2
shared: {inner_steps: 2, points: 1, batch_size: 6, draws: 2, labels_per_class: 2,
  tests_per_class: 5, networks: {class_path: MLPs, init_args: {hidden_layers: [1, 1],
  hidden_units: [5, 5]}}}
datasets: {digits: {}, again: {seed: 1}, moons: {dataset: moons-thin}}
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
NAMES = "mismatch prototypes orders meta_training few_labels sizes activations filters dimensions"
CHECKS = [*zip(NAMES.split(), (2, 2, 1, 4, 3, 2, 3, 1, 3), strict=True)]
"""Panels, and how many checks they have with one rule."""


def write_rule(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    settings = UpdateSettings(hidden_channels=4, error_channels=3, embedding_units=6)
    save_learner(UnsupervisedUpdate(settings), path)


def figures(*options: str, out: str = "out/figures.md") -> str:
    """Run the command; the page."""
    command = f"report figures --rules mine.safetensors --config figures.yaml --out {out}"
    lit_lul(*command.split(), *options)
    return Path(out).read_text() if Path(out).exists() else ""


def orders_in(folder: str) -> Any:
    return json.loads(Path(f"{folder}/figures/orders.json").read_text())["rows"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule, a configuration, and a run of four outer steps that kept θ; the hub is not asked."""
    monkeypatch.chdir(tmp_path)
    without_hub(monkeypatch)
    write_rule(Path("mine.safetensors"), seed=5)
    for step in (2, 4):
        write_rule(Path(f"run/checkpoints/mean_theta_{step:06}.safetensors"), seed=step)
    Path("run/config.yaml").write_text("trainer: {max_steps: 4}\n")
    log = ["step,train/hours_left,val/accuracy", "1,3.0,", "2,4.0,", "2,,0.5", "4,0.0,"]
    Path("run/metrics.csv").write_text("\n".join(log) + "\n")
    Path("figures.yaml").write_text(CONFIG)


def read_panels(config: str, quick: bool = False) -> tuple[Context, list[MeasuredPanel[Any]]]:
    """Rules and data of a configuration, in float32, and its panels."""
    settings, _ = load_figures(Path(config), quick)
    settings, rules = replace(settings, run=Path("run")), ["mine.safetensors"]
    context = make_context(rules, load_rules(rules), settings, Machine("float32", False, None))
    return context, [MeasuredPanel(panel, context) for panel in settings.panels]


@pytest.mark.parametrize(("name", "checks"), CHECKS)
def test_a_panel_draws_and_checks_what_is_measured(name: str, checks: int) -> None:
    context, panels = read_panels("figures.yaml")
    panel = next(panel for panel in panels if panel.name == name)
    rows = {one.name: one.measure() for one in panel.measurements()}
    make_page("command", context, [panel], {name: rows}).write(Path("page.md"))
    page = Path("page.md").read_text()
    assert page.count("\n- **") == checks
    assert "\n*The paper:* " in page and "\n*Protocol:* " in page
    assert Path(f"page/{name}.png").exists() and Path(f"page/{name}.svg").exists()
    first = dict([next(iter(rows.items()))])
    make_page("command", context, [panel], {name: first})  # partly measured


def test_an_interrupted_panel_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    page = figures("--only", "orders", "3", out="whole/figures.md")
    assert "Of the paper's claims about a rule, `mine` meets " in page
    assert "meta_training is left out: --run: expected the folder of a run that kept θ." in page
    whole = orders_in("whole")
    calls = []

    def killed(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return roll_out_draws(*args)

    monkeypatch.setattr(measurements, "roll_out_draws", killed)
    with pytest.raises(KeyboardInterrupt):
        figures("--only", "orders")
    assert len(orders_in("out")) == 2
    assert "or not all of it: mismatch, prototypes, orders" in Path("out/figures.md").read_text()
    figures("--only", "orders")
    assert orders_in("out") == whole
    assert len(calls) == 1 + len(whole), "what was measured is not measured again"
    write_rule(Path("mine.safetensors"), seed=6)
    assert not figures("--only", "orders", "--quick", out="fast/figures.md"), "it has another name"
    assert len(calls) == 1 + 2 * len(whole), "another θ has other numbers"


def test_rows_are_those_of_held_out_evaluation() -> None:
    context, panels = read_panels("figures.yaml")
    (row,) = (one.measure() for one in panels[6].measurements() if one.name == "mine, swish")
    held_out = replace(context.datasets["digits"], networks=MLPs((1, 1), (4, 4), "swish"))
    rule, data = context.rules["mine"], context.load("digits")
    accuracy = roll_out_draws(rule, RIDGE, data, held_out, range(2)).accuracy
    assert row.accuracy["ridge"] == accuracy[0].tolist()


def test_errors_are_one_line() -> None:
    with pytest.raises(InvalidInput, match=r"--only 7: expected some of 2, 3, 4, 5, 6, mismatch"):
        figures("--only", "7")
    Path("figures.yaml").write_text("sizes: {widths: wide}")
    with pytest.raises(InvalidInput, match=r"^figures.yaml: .*widths.*$"):
        figures()


@pytest.mark.parametrize("quick", [False, True])
def test_the_configuration_that_ships_names_its_datasets(quick: bool) -> None:
    context, panels = read_panels("configs/figures.yaml", quick)
    assert [panel.name for panel in panels] == [name for name, _ in CHECKS]
    for panel in panels:
        names = [one.name for one in panel.measurements()]
        assert panel.protocol() and len(set(names)) == len(names)
    assert context.datasets["mnist14"].inner_steps == (20 if quick else 120)


def test_accuracies_are_alike_within_points_that_the_errors_leave() -> None:
    for gap, held in ((1, 0.1), True), ((-1.9, 0.3), None), ((-9, 1), False):
        assert [check.held for check in within("same", {"gap": Difference(*gap)})] == [held]
    assert over_draws([5.0, 15.0]) == pytest.approx((10, 5))


def test_numbers_of_filters_and_embeddings() -> None:
    noise = torch.randn(200, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    assert neighbours(noise).mean().abs() < 0.02
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1)
    assert neighbours(smooth).mean() > 0.6
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 6))
    assert cumulative(plane)[1] == pytest.approx(1)
    labels = np.arange(50) % 2
    assert between(np.stack([labels, labels], 1).astype(float), labels) == pytest.approx(1)
    assert between(rng.normal(size=(50, 6)), labels) < 0.2


def test_hours_are_those_of_the_log() -> None:
    assert hours_of(Path("run"), [1, 2, 3, 4]) == {1: 1.0, 2: 3.0, 3: 5.0, 4: 7.0}
    assert [theta.outer_step for theta in load_thetas(Path("run"), 5)] == [2, 4]
    with pytest.raises(InvalidInput, match="nowhere: expected a run's folder"):
        load_thetas(Path("nowhere"), 2)


def test_inputs_are_intact_or_sorted_where_asked() -> None:
    held_out = HeldOut(tests_per_class=5, draws=2)
    data, like = held_out.load(None), torch.empty(0)
    intact, permuted = (
        Draws(data, replace(held_out, permuted=p), [0, 1], like) for p in (False, True)
    )
    assert torch.equal(intact.permutation, torch.arange(64).expand(2, -1))
    order = permuted.permutation[:, None]
    x = intact.labelled.query_x[0]
    assert torch.equal(x.gather(-1, order.expand(x.shape)), permuted.labelled.query_x[0])
    assert (sort_inputs(data).unlabelled.float().mean(0).diff() >= 0).all()
