"""Every configuration that ships runs, with fewer and smaller steps."""

import json
import re
import sys
from collections import Counter
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lit_lul, log_folder, losses, metrics, refused, same_theta
from jsonargparse import ArgumentParser
from omegaconf import OmegaConf
from real_data import real_data

from lit_lul.errors import InvalidInput
from lit_lul.files.configs import load_config, with_bases
from lit_lul.files.theta import load_learner
from lit_lul.learners import LEARNERS, LocalRule, LSTMOptimizer, PrototypeRule, UpdateSettings
from lit_lul.learners.metz import PAPER
from lit_lul.objectives import FewShotRidge
from lit_lul.objectives.few_shot_ridge import PAPER as PAPER_OBJECTIVE
from lit_lul.tasks.glyph_tasks import SPECIAL
from lit_lul.tasks.schedules import ProblemLength, weight_at
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.trees import tensors_of

CONFIGS = Path(__file__).parents[1] / "configs"
SIZES_OF_THETA = (
    "hidden_channels",
    "error_channels",
    "top_channels",
    "readout_channels",
    "embedding_units",
)
HELD_OUT = ["mnist14", "mnist28", "fashion14", "fashion28", "imdb", "imagenet", "digits"]
SMALLER = [
    "--trainer.accelerator=cpu",
    "--trainer.max_steps=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.val_check_interval=1.0",
    "--model.compile=false",  # compiled runs are in test_training.py
    "--data.sizes.cohorts=2",
    "--data.sizes.tasks=1",
    "--data.sizes.batch_size=8",
    "--data.sizes.draws=1",
    "--data.networks.hidden_units=[8,9]",
    "--data.sources.glyphs.side=8",  # rendered once for all tests
    "--data.validation_cohorts=1",
    "--data.validation_steps=1",
]
SMALLER_CURVE = {
    "inner_steps": 1,
    "batch_size": 8,
    "draws": 2,
    "points": 1,
}
FEWER_IMAGES = {"images": {"side": 14, "split": "train[:500]"}, "test_split": "test[:1000]"}
SPECIAL_SIDES = [f"--data.sources.{kind}.side=8" for kind in SPECIAL]


IN_COLOUR = "--data.sources.imagenet.images.grey=false"
"""As the other tests decode them."""


def run(config: str, held_out: dict[str, Any], run_folder: Path, *options: str) -> Path:
    """Fit a configuration with fewer and smaller steps, and with these curves alone; its folder."""
    widths, own = "hidden_units", "prototypes" if config == "competitive.yaml" else "hidden_units"
    small = {"networks": {"init_args": {own: [4, 4]}}}
    curves = {
        name: OmegaConf.merge(load_config(CONFIGS / config).held_out[name], SMALLER_CURVE, small, c)
        for name, c in held_out.items()
    }
    given = json.dumps(OmegaConf.to_container(OmegaConf.create(curves), resolve=True))
    smaller = [option.replace(widths, own) for option in SMALLER]
    lit_lul("fit", f"--config={CONFIGS / config}", *smaller, f"--held_out={given}", *options)
    return run_folder / "runs" / config.removesuffix(".yaml") / "version_0"


def test_every_config_is_under_test() -> None:
    assert {path.name for path in CONFIGS.glob("*/*.yaml")} == {
        "quickstart.yaml",
        "hebbian.yaml",
        "broad.yaml",
        "competitive.yaml",
        "layered.yaml",
        "maml.yaml",
        "meta_sgd.yaml",
        "anil.yaml",
        "protonet.yaml",
        "few_shot_imagenet.yaml",
        "cactus.yaml",
        "umtra.yaml",
        "aal.yaml",
        "few_shot_study.yaml",
        "few_shot_study_imagenet.yaml",
        "few_shot.yaml",  # test_few_shot_report.py
        "lstm_quadratics.yaml",
        "lstm_mnist.yaml",
        "optimizers.yaml",  # test_report_optimizers.py
        "paper.yaml",
        "released.yaml",
        "small.yaml",
        "results.yaml",  # test_suite.py
        "results_transductive.yaml",  # test_suite.py
        "figures.yaml",  # test_figures.py
        "tensorboard.yaml",
        "suite.yaml",  # test_suite.py
        "suite_long.yaml",  # test_suite.py
        "wandb.yaml",  # test_wandb.py
        "sweep.yaml",  # test_sweeps.py
        "ablations.yaml",  # test_sweeps.py
        "baselines.yaml",  # test_report_baselines.py
    }


def test_quickstart(run_folder: Path) -> None:
    overlay = f"--config={CONFIGS / 'tensorboard.yaml'}"
    folder = run("quickstart.yaml", {"digits": {}}, run_folder, overlay)
    assert (folder / "checkpoints" / "theta.safetensors").is_file()
    assert (folder / "metrics.csv").is_file()
    assert any(folder.glob("events.out.tfevents.*")), "in the same folder"


@pytest.mark.parametrize("config", ["hebbian", "broad", "layered", "competitive"])
def test_local_rules(config: str, run_folder: Path) -> None:
    """With curves where they are of a network of its own."""
    changes = {"labels_per_class": 2, "tests_per_class": 4}
    names = ["digits", "prior", "wine"] if config == "competitive" else []
    fewer = [] if config == "hebbian" else ["--data.sources.prior.inputs=[16]"]
    folder = run(f"{config}.yaml", dict.fromkeys(names, changes), run_folder, *fewer)
    kind = PrototypeRule if config == "competitive" else LocalRule
    assert isinstance(load_learner(folder / "checkpoints" / "mean_theta.safetensors"), kind)
    assert {path.name for path in folder.glob("*_curve.json")} == {f"{n}_curve.json" for n in names}


FEW_SHOT = [
    "--trainer.accelerator=cpu",
    "--trainer.max_steps=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.val_check_interval=2",
    "--trainer.precision=64-true",
    "--data.sizes.queries_per_class=2",
    "--data.validation_cohorts=1",
    "--model.learner.settings.channels=4",
]
"""Fewer and smaller steps of learners with labels."""
LEARNERS_OF = {"meta_sgd": "MetaSGD", "anil": "ANIL", "protonet": "PrototypicalNetwork"}


def few_shot(config: str, *options: str) -> list[str]:
    """Options of a fit of such a configuration on small glyphs."""
    path = str(CONFIGS / f"{config}.yaml")
    small = ["--data.sources.glyphs.side=8", "--model.learner.settings.inputs=64"]
    return ["fit", "--config", path, *FEW_SHOT, *small, *options]


def test_few_shot(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One shot, and resumed as if it had not stopped; ranks are in test_distributed.py."""
    options = few_shot("maml", "--data.sizes.labels_per_class=1", "--data.sizes.tasks=2")
    lit_lul(*options, "--trainer.max_steps=1")
    lit_lul(*options, "--ckpt_path=last")
    lit_lul(*options)
    runs = [run_folder / "runs" / "maml" / f"version_{run}" for run in (0, 1)]
    same_theta(*runs)
    rows = metrics(runs[0])
    assert rows == metrics(runs[1])
    assert any("val/accuracy" in row for row in rows)
    theta = runs[0] / "checkpoints" / "theta.safetensors"
    assert "load_learner" in theta.with_suffix(".md").read_text()
    capsys.readouterr()
    lit_lul("validate", *options[1:], f"--ckpt_path={theta}")
    assert "val      accuracy " in capsys.readouterr().out


@pytest.mark.parametrize("config", LEARNERS_OF)
def test_few_shot_learners(run_folder: Path, config: str) -> None:
    lit_lul(*few_shot(config, "--data.sizes.labels_per_class=1", "--trainer.max_steps=1"))
    theta = run_folder / "runs" / config / "version_0" / "checkpoints" / "theta.safetensors"
    assert type(load_learner(theta)) is LEARNERS[LEARNERS_OF[config]]


SMALL_MLP = [
    "--model.learner.settings.hidden_units=[8,6]",
    "--data.networks.hidden_units=[8,6]",
    "--data.sizes.tasks=2",
]


@pytest.mark.parametrize("config", ["cactus", "umtra", "aal"])
def test_without_labels(run_folder: Path, config: str) -> None:
    """MAML on tasks without labels, as the few-shot studies train it; validation has labels."""
    overlay = str(CONFIGS / "few_shot_study.yaml")
    fewer = "--data.sources.glyphs.clusters.number=20"
    lit_lul(*few_shot(config, "--config", overlay), *FEW_SHOT, *SMALL_MLP, fewer)
    folder = run_folder / "runs" / config / "version_0"
    assert type(load_learner(folder / "checkpoints" / "theta.safetensors")) is LEARNERS["MAML"]
    assert any("val/accuracy/glyphs-5" in row for row in metrics(folder))


LSTM = [
    "--trainer.max_steps=3",
    "--trainer.log_every_n_steps=1",
    "--trainer.precision=64-true",
    "--data.sizes.tasks=2",
    "--data.unroll_length={first: [2, 2], last: [2, 2], over: 1}",
    "--data.problem_length={first: 4, last: 4, over: 1, spread: 0}",
    "--data.validation_cohorts=1",
    "--data.validation_steps=2",
]
"""Fewer and smaller steps of a learned optimizer."""


def test_lstm_quadratics(run_folder: Path) -> None:
    """Resumed in the middle of a problem as if it had not stopped; `val` needs gradients too."""
    options = ["fit", "--config", str(CONFIGS / "lstm_quadratics.yaml"), *LSTM]
    lit_lul(*options, "--trainer.max_steps=2")
    lit_lul(*options, "--ckpt_path=last")
    lit_lul(*options)
    runs = [run_folder / "runs" / "lstm_quadratics" / f"version_{run}" for run in (0, 1)]
    same_theta(*runs)
    assert losses(runs[0]) == losses(runs[1])
    checkpoint = torch.load(runs[0] / "checkpoints" / "last.ckpt", weights_only=True)
    carries = [tensor for _, tensor in tensors_of(checkpoint["cohorts"])]
    assert {tensor.dtype for tensor in carries} == {torch.float64}, "as trainer.precision says"
    theta = runs[0] / "checkpoints" / "theta.safetensors"
    assert isinstance(load_learner(theta), LSTMOptimizer)
    assert "Learned(model.parameters()" in theta.with_suffix(".md").read_text()
    assert any("val/meta_loss/quadratics-10" in row for row in metrics(runs[1]))


@real_data
def test_lstm_mnist(run_folder: Path) -> None:
    images = ["images.split=train[:500]", "images.side=8", "validation_split=test[:500]"]
    options = [f"--data.sources.mnist.{setting}" for setting in images]
    smaller = ["--data.sizes.batch_size=8", "--data.sizes.labels_per_class=2"]
    lit_lul("fit", "--config", str(CONFIGS / "lstm_mnist.yaml"), *LSTM, *smaller, *options)
    rows = metrics(run_folder / "runs" / "lstm_mnist" / "version_0")
    assert any("val/accuracy/mnist-10" in row for row in rows)


@pytest.mark.slow
@real_data
def test_few_shot_on_images(run_folder: Path) -> None:
    """Classes that evaluation keeps are those of validation."""
    maml = str(CONFIGS / "maml.yaml")
    overlay = str(CONFIGS / "few_shot_imagenet.yaml")
    lit_lul("fit", "--config", maml, "--config", overlay, *FEW_SHOT)
    rows = metrics(run_folder / "runs" / "maml" / "version_0")
    families = {name for row in rows for name in row if name.startswith("val/accuracy/")}
    assert families == {"val/accuracy/families", "val/accuracy/imagenet-5"}


@real_data
def test_without_labels_on_images(run_folder: Path) -> None:
    names = ("umtra", "few_shot_study", "few_shot_study_imagenet")
    given = [o for name in names for o in ("--config", str(CONFIGS / f"{name}.yaml"))]
    colour = [IN_COLOUR, "--model.learner.settings.inputs=768"]
    instances = "--data.sources.imagenet.classes=instances"
    lit_lul("fit", *given, *FEW_SHOT, *SMALL_MLP, *colour, instances)
    rows = metrics(run_folder / "runs" / "umtra" / "version_0")
    assert any("val/accuracy/imagenet-5" in row for row in rows)


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        (["--held_out.digits={}"], "MAML learns from labels: held-out curves"),
        (["--data.networks.channels=5"], "MAML expects ConvNet"),
        (["--data.problem_length.first=9", "--data.problem_length.last=9"], "data.problem_length"),
    ],
)
def test_what_learners_with_labels_cannot_do_is_named(
    run_folder: Path, options: list[str], culprit: str
) -> None:
    with refused(re.escape(culprit)):
        lit_lul(*few_shot("maml", *options))


def test_configurations_that_ship_are_found_by_name(run_folder: Path) -> None:
    by_path = with_bases(["--config", str(CONFIGS / "sweep.yaml")])
    assert with_bases(["--config", "sweep"]) == by_path != ["--config", "sweep"]
    Path("mine.yaml").write_text("base: quickstart.yaml\ntrainer: {max_steps: 1}\n")
    mine = load_config(Path("mine.yaml"))
    assert mine.trainer.logger == load_config(CONFIGS / "quickstart.yaml").trainer.logger
    Path("wandb.yaml").write_text("trainer: {max_steps: 3}\n")
    assert with_bases(["--config", "wandb.yaml"]) == ["--config", "trainer:\n  max_steps: 3\n"]


@pytest.mark.parametrize("extra", ["tensorboard", "wandb"])
def test_a_missing_extra_is_named(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, extra, None)  # as if it were not installed
    with refused(rf"pip install 'lit-lul\[{extra}\]'$"):
        lit_lul("fit", "--config", "tiny.yaml", "--config", extra)
    assert not (run_folder / "runs").exists()


@pytest.mark.slow
@real_data
def test_small(run_folder: Path) -> None:
    """With curves of images and of texts; its other datasets are in test_real_data.py."""
    folder = run("small.yaml", {"mnist14": FEWER_IMAGES, "imdb": {}}, run_folder, IN_COLOUR)
    assert (folder / "checkpoints" / "theta.safetensors").is_file()
    for name in ("mnist14", "imdb"):
        assert (folder / f"{name}_curve.json").is_file()
        assert (folder / f"{name}_embedding.png").is_file()
        assert (folder / f"{name}_receptive_fields.png").is_file() == (name != "imdb")


@pytest.mark.slow
@real_data
def test_released_and_paper_differ_in_the_form_of_the_rule_alone(run_folder: Path) -> None:
    options = ["--held_out={}", *SMALLER, *SPECIAL_SIDES]
    lit_lul("fit", "--config", str(CONFIGS / "released.yaml"), *options)
    lit_lul("fit", "--config", str(CONFIGS / "paper.yaml"), *options)
    released, paper = (
        OmegaConf.load(run_folder / f"runs/{name}/version_0/config.yaml")
        for name in ("released", "paper")
    )
    learner = "model.learner.init_args.settings"
    sizes = {name: OmegaConf.select(paper, f"{learner}.{name}") for name in SIZES_OF_THETA}
    expected = asdict(UpdateSettings(**PAPER, **sizes))
    assert OmegaConf.to_container(OmegaConf.select(paper, learner)) == expected
    objective = OmegaConf.select(paper, "model.objective.init_args")
    assert OmegaConf.to_container(objective) == asdict(FewShotRidge(**PAPER_OBJECTIVE))
    assert OmegaConf.select(released, learner) == OmegaConf.create(asdict(UpdateSettings()))
    assert paper.data == released.data


@real_data
def test_sources_have_the_shares_of_the_configuration() -> None:
    data = instantiate(CONFIGS / "released.yaml")
    shares: dict[str, float] = {}
    for name, source in data.sources.items():
        kind = "glyphs" if name in ("letters", "mathematics", "currency") else name
        shares[kind] = shares.get(kind, 0.0) + weight_at(source.weight, 0)
    expected = {"glyphs": 0.5, "cifar10": 0.25, "imagenet": 0.25}
    assert shares == pytest.approx(expected, abs=1e-3)
    data.prepare_data()
    data.setup("fit")
    stream = data.stream(data.training)
    stream.sizes = replace(data.sizes, cohorts=8, tasks=1, batch_size=1, draws=1)
    stream.problem_length = ProblemLength(1, 1, 1, 0)
    counts = Counter(stream.families[plan.family].partition("-")[0] for plan in islice(stream, 800))
    assert counts["imagenet"] / 800 == pytest.approx(0.25, abs=0.05)
    assert {name.partition("-")[0] for name in data.validation_families} == {"glyphs", "imagenet"}


def instantiate(config: Path) -> TaskDataModule:
    """The data of a configuration."""
    values: Any = OmegaConf.to_container(load_config(config), resolve=True)
    for name in ("glyphs", *SPECIAL):
        values["data"]["sources"][name]["init_args"]["side"] = 8
    parser = ArgumentParser()
    parser.add_class_arguments(TaskDataModule, "data")
    data: TaskDataModule = parser.instantiate(parser.parse_object({"data": values["data"]})).data
    return data


def test_base_is_merged_and_may_be_missing(run_folder: Path) -> None:
    Path("overlay.yaml").write_text("base: tiny.yaml\ntrainer: {max_steps: 1}\n")
    Path("orphan.yaml").write_text("base: nowhere.yaml\n")
    lit_lul("fit", "--config=overlay.yaml", "--held_out={}")
    config = OmegaConf.load(log_folder(run_folder) / "config.yaml")
    assert OmegaConf.select(config, "trainer.max_steps") == 1
    assert OmegaConf.select(config, "model.learner.init_args.settings.embedding_units") == 6
    with pytest.raises(InvalidInput, match=r"nowhere\.yaml"):
        lit_lul("fit", "--config", "orphan.yaml")
    Path("quickstart.yaml").write_text("base: quickstart.yaml\n")
    with pytest.raises(InvalidInput, match=r"quickstart\.yaml: expected another file"):
        lit_lul("fit", "--config", "quickstart.yaml")
    Path("list.yaml").write_text("base: overlay.yaml\ntrainer: [1, 2]\n")
    with pytest.raises(InvalidInput, match=r"list\.yaml: expected keys that fit on its base"):
        lit_lul("fit", "--config", "list.yaml")
