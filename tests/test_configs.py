"""Every configuration that ships runs, with fewer and smaller steps."""

from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import lit_lul, log_folder
from omegaconf import OmegaConf
from real_data import real_data

from lit_lul.data.image_datasets import ImageSource
from lit_lul.errors import InvalidInput
from lit_lul.tasks.glyph_tasks import GlyphTasks
from lit_lul.tasks.image_tasks import ImageTasks
from lit_lul.tasks.settings import CohortSettings
from lit_lul.training.datamodule import TaskDataModule
from lit_lul.training.schedules import ProblemLength

CONFIGS = Path(__file__).parents[1] / "configs"
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
    "--data.architectures.hidden_units=[8,9]",
    "--data.validation_cohorts=1",
    "--data.validation_steps=1",
]
SMALLER_CURVE = ["hidden_units=[4]", "inner_steps=1", "batch_size=8", "draws=2", "points=1"]


def run(config: str, curves: list[str], run_folder: Path) -> Path:
    """Fit a configuration with fewer and smaller steps, and images decoded once; its folder."""
    smaller = [f"--held_out.{name}.{setting}" for name in curves for setting in SMALLER_CURVE]
    again = [f"--held_out.{name}.images.side=14" for name in curves if name.endswith("28")]
    lit_lul("fit", "--config", str(CONFIGS / config), *SMALLER, *smaller, *again)
    return run_folder / "runs" / config.removesuffix(".yaml") / "version_0"


def test_every_config_is_under_test() -> None:
    assert {path.name for path in CONFIGS.glob("*.yaml")} == {
        "quickstart.yaml",
        "paper.yaml",
        "small.yaml",
        "results.yaml",  # test_results.py
        "wandb.yaml",  # test_wandb.py
        "sweep.yaml",  # test_sweeps.py
    }


def test_quickstart(run_folder: Path) -> None:
    folder = run("quickstart.yaml", ["digits"], run_folder)
    assert (folder / "checkpoints" / "theta.safetensors").is_file()
    assert any(folder.glob("events.out.tfevents.*"))


@real_data
def test_paper(run_folder: Path) -> None:
    """Without its curves, which small.yaml has from it."""
    lit_lul("fit", "--config", str(CONFIGS / "paper.yaml"), "--held_out={}", *SMALLER)
    assert (run_folder / "runs/paper/version_0/checkpoints/theta.safetensors").is_file()


@real_data
def test_small(run_folder: Path) -> None:
    folder = run("small.yaml", HELD_OUT, run_folder)
    assert (folder / "checkpoints" / "theta.safetensors").is_file()
    for name in HELD_OUT:
        assert (folder / f"{name}_curve.json").is_file()
        assert (folder / f"{name}_embedding.png").is_file()
        assert (folder / f"{name}_receptive_fields.png").is_file() == (name != "imdb")


@real_data
def test_task_families_have_their_shares(run_folder: Path) -> None:
    """The shares of glyphs, CIFAR and ImageNet are those of the paper's configuration."""
    cifar10 = ImageSource("uoft-cs/cifar10", image_column="img", grey=True)
    imagenet = ImageSource("zh-plus/tiny-imagenet", leave_out="heldout_classes.json")
    data = TaskDataModule(
        glyphs=GlyphTasks(side=8, weight=0.5),
        images={
            "cifar10": ImageTasks(cifar10, weight=0.25),
            "imagenet": ImageTasks(imagenet, ways=[10, 15, 20, 25], weight=0.25),
        },
        sizes=CohortSettings(cohorts=4, tasks=4, batch_size=4, draws=1),
        problem_length=ProblemLength(1, 1, 1, 0),
    )
    data.prepare_data()
    data.setup("fit")
    # the three things that the loader reads of a trainer
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, max_steps=-1)  # type: ignore[assignment]
    counts: Counter[str] = Counter()
    for draw, _ in islice(data.train_dataloader(), 800):
        counts.update(data.families[f].partition("-")[0] for f in draw.family.tolist())
    total = sum(counts.values())
    shares = {name: count / total for name, count in counts.items()}
    assert shares == pytest.approx({"glyphs": 0.5, "cifar10": 0.25, "imagenet": 0.25}, abs=0.06)
    assert {name.partition("-")[0] for name in data.validation_families} == {"glyphs", "imagenet"}


def test_base_is_merged_and_may_be_missing(run_folder: Path) -> None:
    Path("overlay.yaml").write_text("base: tiny.yaml\ntrainer: {max_steps: 1}\n")
    Path("orphan.yaml").write_text("base: nowhere.yaml\n")
    lit_lul("fit", "--config=overlay.yaml")
    config = OmegaConf.load(log_folder(run_folder) / "config.yaml")
    assert OmegaConf.select(config, "trainer.max_steps") == 1
    assert OmegaConf.select(config, "model.rule.embedding_units") == 6
    with pytest.raises(InvalidInput, match=r"nowhere\.yaml"):
        lit_lul("fit", "--config", "orphan.yaml")
    Path("list.yaml").write_text("base: overlay.yaml\ntrainer: [1, 2]\n")
    with pytest.raises(InvalidInput, match=r"list\.yaml: expected keys that fit on its base"):
        lit_lul("fit", "--config", "list.yaml")
