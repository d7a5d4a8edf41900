"""Baselines of the study: what they compute, and the page of `report baselines`."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import lit_lul, without_hub
from omegaconf import OmegaConf
from test_configs import CONFIGS
from test_suite import write_rule

from lit_lul.evaluation.baselines import BASELINES, RANDOM_EMBEDDING, Case, measure_baselines
from lit_lul.evaluation.datasets import digits
from lit_lul.evaluation.features import FEATURES
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.networks import MLP, MLPs
from lit_lul.objectives import FewShotRidge
from lit_lul.report.suite import Half, load_suite
from studies.baselines.baselines import GROUPS
from studies.baselines.with_labels import WITH_LABELS
from studies.networks.self_supervised import (
    CONTRASTIVE,
    HIDDEN,
    VICREG,
    accuracy,
    contrastive_loss,
    corrupt,
    denoising_loss,
    start_denoising,
    vicreg_loss,
)
from studies.networks.training import Linear

HELD_OUT = HeldOut(networks=MLPs((1, 1), (48, 48)), draws=2, tests_per_class=20, batch_size=64)


def test_every_baseline_beats_the_random_embedding_on_digits() -> None:
    cheap = {n: b for n, b in {**BASELINES, **WITH_LABELS}.items() if n != "dictionary"}
    found = measure_baselines(FewShotRidge(), digits(), HELD_OUT, 16, cheap)
    case = Case(digits(), HELD_OUT, FewShotRidge(), 16)
    found |= {name: accuracy(m, case, 120) for name, m in (("scarf", CONTRASTIVE), ("vic", VICREG))}
    chance = found.pop(RANDOM_EMBEDDING).mean()
    for name, of_draws in found.items():
        assert of_draws.shape == (1, 2)
        assert of_draws.mean() > chance + 0.04, name


def test_the_denoising_loss_is_the_error_of_the_decoder() -> None:
    decoder = start_denoising(5, 3, torch.Generator().manual_seed(0))
    x, corrupted = torch.rand(2, 1, 9, 5, generator=torch.Generator().manual_seed(1))
    seen = []

    def encode(rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows)
        return rows[..., :3]

    hidden = MLP((3, *HIDDEN)).embed(decoder["layers"], corrupted[..., :3])
    decoded = hidden @ decoder["pixels"].weight + decoder["pixels"].bias
    found = denoising_loss(decoder, encode, x, corrupted)
    torch.testing.assert_close(found, (decoded - x).square().mean((1, 2)))
    assert seen == [corrupted]


def test_codes_of_a_dictionary_are_sparse() -> None:
    x = (digits().unlabelled[:130].float() / 16).numpy()
    codes = FEATURES["dictionary"](x, 0)(x[:20])
    assert codes.shape == (20, 128)
    assert 0 < np.count_nonzero(codes, axis=1).max() <= 7


def test_corrupted_inputs_are_those_of_other_rows() -> None:
    x = torch.arange(2 * 50 * 4.0).reshape(2, 50, 4)
    corrupted = corrupt(x, [torch.Generator().manual_seed(seed) for seed in (0, 1)])
    changed = corrupted != x
    assert 0.5 < changed.double().mean() < 0.7
    assert torch.equal(corrupted % 4, x % 4), "of the same input"
    assert ((corrupted // 200) == (x // 200)).all(), "of the same draw"


def test_losses_are_least_for_what_methods_ask_for() -> None:
    eye = torch.eye(8)[None] * 5
    identity = Linear(torch.eye(8)[None], torch.zeros(1, 1, 8))
    head = (identity, identity)

    def contrast(x: torch.Tensor) -> float:
        return float(contrastive_loss(head, lambda rows: rows, eye, x))

    assert contrast(eye) == pytest.approx(float(np.log(np.e + 7) - 1), abs=1e-5)
    assert contrast(eye.roll(1, 1)) > contrast(eye) + 0.9
    spread = torch.randn(1, 4000, 8, generator=torch.Generator().manual_seed(0)) * 3 + 20
    collapsed = torch.full_like(spread, 20.0)
    assert float(vicreg_loss(head, lambda rows: rows, spread, spread)) < 0.5
    assert float(vicreg_loss(head, lambda rows: rows, collapsed, collapsed)) > 20


def test_settings_are_those_of_the_suite() -> None:
    of_suite: dict[str, Any] = {}
    for half in get_args(Half):
        of_suite |= load_suite(CONFIGS / "suite.yaml", half).entries
    for half in get_args(Half):
        for name, parts in load_suite(CONFIGS / "baselines.yaml", half).entries.items():
            assert [p.describe() for p in parts] == [p.describe() for p in of_suite[name]]


def test_the_page_has_every_method_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without_hub(monkeypatch)
    names = ("raw inputs", "label spreading", RANDOM_EMBEDDING)
    some = {
        group: {name: one for name, one in named.items() if name in names}
        for group, named in GROUPS.items()
    }
    monkeypatch.setattr("studies.baselines.baselines.GROUPS", some)
    write_rule(Path("mine.safetensors"), seed=5)
    shared: dict[str, Any] = {"inner_steps": 1, "points": 1, "labels_per_class": 3, "draws": 2}
    shared |= {"networks": {"class_path": "MLPs", "init_args": {"hidden_layers": [1, 1]}}}
    absent = {"absent": {"images": {"dataset": "nobody/nothing"}}}
    halves = {"development": {"digits": {"dataset": "digits"}}, "report": absent}
    OmegaConf.save(OmegaConf.create({"shared": shared, **halves}), "some.yaml")
    words = ["report", "baselines", "--rules", "mine.safetensors", "--config", "some.yaml"]
    lit_lul(*words, "--out", "out/page.md")
    page = Path("out/page.md").read_text()
    rows = json.loads(Path("out/page/digits.json").read_text())["rows"]
    assert list(rows) == [*names, "mine, initial θ", "mine"]
    ridge = page.partition("### Ridge, inductive")[2].partition("###")[0]
    for name in ("raw inputs", RANDOM_EMBEDDING, "mine"):
        assert f"| {name} | " in ridge
    assert "| *unlabelled rows and labels together* |  |  |\n| label spreading | " in ridge.replace(
        "**", ""
    )
    assert "absent is left out: " in page
