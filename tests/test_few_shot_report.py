"""The few-shot studies: the table, what adapting changes, and the configuration that ships."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lit_lul
from omegaconf import OmegaConf
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput
from lit_lul.files.theta import save_learner
from lit_lul.learners import ANIL, MAML, Learner, MetaSGD, PrototypicalNetwork
from lit_lul.learners.gradient_descent import MAMLSettings, MetaSGDSettings
from lit_lul.learners.learned_start import LearnedStart, StartSettings
from lit_lul.objectives.objective import Labelled
from lit_lul.report.rows import Row
from lit_lul.tasks.class_tasks import ClassTasks
from lit_lul.tasks.glyph_tasks import GlyphTasks
from studies.few_shot import methods
from studies.few_shot.adaptation import (
    BEFORE,
    OFF_TASK,
    ON_TASK,
    WITH_HEAD,
    linear_cka,
    measure_together,
    rates_of,
)
from studies.few_shot.config import TOGETHER, Scratch, load_studies
from studies.few_shot.few_shot import checks
from studies.few_shot.methods import by_nearest_mean, by_nearest_neighbour, episodes
from studies.few_shot.runs import Run, load_run

NETWORK: dict[str, Any] = {
    "network": "LinearHeadMLP",
    "inputs": 64,
    "hidden_units": [8, 6],
    "embedding_units": 3,
}
GLYPHS: dict[str, Any] = {"class_path": "GlyphTasks", "init_args": {"side": 8, "ways": [3]}}


def write_run(name: str, learner: Learner, rounds: int = 1, **source: Any) -> None:
    """A folder as of a finished run, of 7 outer steps with 6 episodes each."""
    folder = Path("runs", name)
    (folder / "checkpoints").mkdir(parents=True)
    save_learner(learner, folder / "checkpoints" / "theta.safetensors")
    glyphs = {**GLYPHS, "init_args": GLYPHS["init_args"] | source}
    values = {
        "trainer": {"max_steps": 7},
        "data": {
            "sizes": {"cohorts": 2 // rounds, "tasks": 3},
            **({"rounds": {"first": rounds, "last": rounds}} if rounds > 1 else {}),
            "validation_steps": 0 if isinstance(learner, PrototypicalNetwork) else 2,
            "sources": {"glyphs": glyphs, "other": {**GLYPHS, "init_args": {"weight": 0}}},
        },
    }
    OmegaConf.save(OmegaConf.create(values), folder / "config.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with runs and a configuration."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    write_run("maml", MAML(MAMLSettings(**NETWORK)))
    write_run("sgd", MetaSGD(MetaSGDSettings(**NETWORK)))
    write_run("protonet", PrototypicalNetwork(StartSettings(**NETWORK)))
    write_run("cactus", MAML(MAMLSettings(**NETWORK)), rounds=2, classes="clusters")
    runs = {n: f"runs/{n.lower()}" for n in ("MAML", "SGD", "ProtoNet", "CACTUs", "absent")}
    runs["Meta-SGD"] = runs.pop("SGD").replace("meta-", "")
    absent = {"images": {"dataset": "no/where", "leave_out": "x.json"}}
    adapted = ["MAML", "Meta-SGD", "ProtoNet"]
    sources = {
        "glyphs": {"tasks": GLYPHS, "network": NETWORK, "runs": runs, "adaptation": adapted},
        "nowhere": {
            "tasks": {"class_path": "ImageTasks", "init_args": absent},
            "network": NETWORK,
        },
    }
    values = {"episodes": TOGETHER, "tuning_episodes": TOGETHER, "queries": 3, "sources": sources}
    values["scratch"] = {"rates": [0.1], "steps": [2]}
    OmegaConf.save(OmegaConf.create(values), "studies.yaml")


def test_both_commands_write_one_page_of_what_can_be_measured() -> None:
    for command in ("adaptation", "few_shot"):
        lit_lul("report", command, "--config=studies.yaml", "--out=out/page.md")
    page = Path("out/page.md").read_text()
    labels = 48 * len(GlyphTasks(side=8, ways=[3]).load("g", None)[0].pool)
    for row, used in (("MAML", labels), ("ProtoNet", labels), ("CACTUs", 0)):
        (line,) = [line for line in page.splitlines() if f"| {used:,} | 42 episodes |" in line
                   and line.startswith(f"| {row} ")]  # fmt: skip
        assert line.count("|") == 10
    assert "nowhere is left out: " in page
    assert "glyphs is left out: runs/absent" in page
    assert "What adapting changes: glyphs" in page
    assert "blog: off-task accuracy rises for Meta-SGD: " in page
    assert Path("out/page/glyphs_adaptation.png").stat().st_size > 1000
    rows = json.loads(Path("out/page/glyphs.json").read_text())["rows"]
    run = load_run(Path("runs/maml"), None)
    test = GlyphTasks(side=8, ways=[3]).load("glyphs", None)[1]
    assert isinstance(test, ClassTasks)
    (given,) = episodes(test, 5, 3, TOGETHER, 600)
    expected = run.objective(run.learner.network, run.adapt(given), given).accuracy
    assert rows["MAML"]["accuracy"]["5-shot"][0] == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.fixture
def given() -> Labelled:
    """Four episodes of three classes with noisy inputs."""
    images = torch.randint(256, (90, 1, 8, 8), dtype=torch.uint8)
    images += (torch.arange(9).repeat_interleave(10) * 9).view(-1, 1, 1, 1).to(torch.uint8)
    start = torch.arange(10) * 10
    source = ClassTasks("x", ImageSet(images, start, tuple("abcdefghi")), range(9), [3], 1.0, [])
    (labelled,) = episodes(source, 2, 4, TOGETHER, 0)
    return labelled


def test_classifiers_are_those_of_scikit_learn(given: Labelled) -> None:
    for ours, theirs in (
        (by_nearest_mean, NearestCentroid()),
        (by_nearest_neighbour, KNeighborsClassifier(1)),
    ):
        found = ours(given.support_x, given.query_x, given)
        known, asked = given.support_y[0].argmax(-1), given.query_y[0].argmax(-1)
        support, query = given.support_x[0], given.query_x[0]
        expected = [
            theirs.fit(support[t], known[t]).score(query[t], asked[t]) for t in range(TOGETHER)
        ]
        assert found.tolist() == pytest.approx(expected)


def run_of(learner: LearnedStart, steps: int = 3) -> Run:
    return Run(learner, steps, 0, 0)


def test_off_task_is_after_adapting_to_the_episode_before(given: Labelled) -> None:
    run = run_of(MAML(MAMLSettings(**NETWORK, inner_rate=2.0)))
    found = measure_together(run, given)
    order = torch.arange(TOGETHER).roll(1)  # the support of another episode
    others = given._replace(
        support_x=given.support_x[:, order], support_y=given.support_y[:, order]
    )

    both = torch.cat([given.support_x, given.query_x], -2)
    k = given.support_x.shape[-2]
    for name, params in (
        (BEFORE, run.start(TOGETHER)),
        (ON_TASK, run.adapt(given)),
        (OFF_TASK, run.adapt(others)),
    ):
        u = run.learner.network.activations(params, both).x[-2]
        expected = by_nearest_neighbour(u[..., :k, :], u[..., k:, :], given)
        assert torch.equal(found[name], expected)
    assert not torch.equal(found[ON_TASK], found[OFF_TASK])


def test_anil_reuses_its_features(given: Labelled) -> None:
    found = measure_together(run_of(ANIL(MAMLSettings(**NETWORK))), given)
    assert torch.equal(found[BEFORE], found[ON_TASK])
    assert torch.equal(found[BEFORE], found[OFF_TASK])
    assert found["layer 1"].tolist() == pytest.approx([1.0] * TOGETHER)
    assert found["layer 3"].max() < 1 - 1e-4, "the head"
    assert found[WITH_HEAD].shape == (TOGETHER,)


def test_linear_cka_of_rotated_scaled_and_other_features() -> None:
    one, other = torch.randn(2, 20, 5, dtype=torch.float64), torch.randn(2, 20, 7).double()
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    assert linear_cka(one, 3 * one @ rotation + 1).tolist() == pytest.approx([1.0, 1.0])
    x, y = (f[0] - f[0].mean(0) for f in (one, other))
    expected = (x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())
    assert linear_cka(one, other)[0].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("negative", [True, False])
def test_learned_rates_by_layer(negative: bool) -> None:
    learner = MetaSGD(MetaSGDSettings(**NETWORK, negative_rates=negative))
    with torch.no_grad():
        learner.rate["weights_1"].fill_(0.5)
        learner.rate["weights_1"][:2] = -1.0  # of the 8 units below
    layer = {layer.name: layer for layer in rates_of(learner)}["layer 2, weights"]
    assert (layer.negative, layer.zero) == ((0.25, 0.0) if negative else (0.0, 0.25))
    assert layer.mean == pytest.approx(0.125 if negative else 0.375)
    assert rates_of(MAML()) == []


def test_the_best_choice_from_scratch(given: Labelled) -> None:
    settings = StartSettings(**NETWORK)
    choices = Scratch([1e-6, 0.5], [1, 20])
    rate, steps = methods.tune(settings, choices, [given])
    mean = {
        (r, s): methods.descend(settings, r, [s], given)[0].mean()
        for r in choices.rates
        for s in choices.steps
    }
    assert mean[rate, steps] == max(mean.values())


def test_claims_count_beyond_two_standard_errors() -> None:
    noise = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    noise -= noise.mean()
    for shift, held in ((1, True), (-1, False), (0, None)):
        features = {BEFORE: torch.zeros(400), ON_TASK: noise, OFF_TASK: noise + shift}
        row = Row("", [0], {name: [values.tolist()] for name, values in features.items()})
        found = {check.claim: check.held for check in checks({"Meta-SGD": row}, {})}
        assert found["blog: off-task accuracy rises for Meta-SGD"] is held
        assert found["blog: on-task accuracy falls for Meta-SGD"] is None


def test_errors_are_one_line() -> None:
    Path("odd.yaml").write_text("episodes: 30\nsources: {}\n")
    Path("bad.yaml").write_text("sources: {a: {tasks: {class_path: Nothing}}}\n")
    for options, message in (
        (["--config=odd.yaml"], "episodes must be a multiple of 20, got 30"),
        (["--config=bad.yaml"], "bad.yaml"),
        (["--out=page"], "expected a name that ends in .md"),
    ):
        with pytest.raises(InvalidInput) as raised:
            lit_lul("report", "few_shot", *options)
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)


def test_the_studies_that_ship() -> None:
    studies = load_studies(Path("few_shot.yaml"), quick=False)
    assert load_studies(Path("few_shot.yaml"), quick=True).episodes == TOGETHER
    assert (studies.shots, studies.episodes, studies.queries) == ([1, 5], 600, 15)
    for source in studies.sources.values():
        assert set(source.adaptation) <= set(source.runs)
        assert list(source.rules) == ["small", "broad"]
        assert source.network.hidden_units == [256, 128]
