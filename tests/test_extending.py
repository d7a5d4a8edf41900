"""The code of docs/extending.md runs as it is, and does what the page says."""

import importlib
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lit_lul, metrics, refused
from learner_contract import Case, check_learner
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.estimators import Estimator, Outcome
from lit_lul.files.theta import load_learner, stored_settings
from lit_lul.learners import LEARNERS, TERMS, LocalRule
from lit_lul.learners.learner import Learner, register
from lit_lul.networks import MLP
from lit_lul.objectives import Score
from lit_lul.tasks import GlyphTasks
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.source import Seeds
from lit_lul.tasks.transforms import Permutation, Placement, Transform
from lit_lul.trees import tensors_of

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.M | re.S))
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.splitlines()
]
KINDS = ["local", "term", "rule", "network", "estimator", "noise", "source"]
SMALLER = [
    "--trainer.max_steps=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.val_check_interval=1.0",
    "--data.sizes.tasks=3",
    "--data.sizes.batch_size=8",
    "--data.sizes.labels_per_class=2",
    "--data.sizes.draws=1",
    "--data.validation_cohorts=1",
    "--data.validation_steps=1",
]
SMALLER_CURVE = [
    "--held_out.digits.inner_steps=2",
    "--held_out.digits.points=1",
    "--held_out.digits.batch_size=8",
    "--held_out.digits.draws=2",
]
SIZES = ProblemSizes(tasks=40, batch_size=9, labels_per_class=2, draws=1)


@pytest.fixture
def folder(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with every file of the page, importable as `python -m` has it."""
    for name, text in FILES.items():
        (run_folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(run_folder))
    learners = dict(LEARNERS)
    yield run_folder
    LEARNERS.clear()
    LEARNERS.update(learners)
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def fit(name: str, *options: str) -> Path:
    """Run the page's fit of a configuration, with smaller steps; where it writes."""
    command = next(line for line in COMMANDS if f"--config {name}" in line)
    assert command.startswith("python -m lit_lul ")
    lit_lul(*shlex.split(command)[3:], *SMALLER, *options)
    return max(Path("runs/quickstart").iterdir(), key=lambda path: int(path.name[8:]))


def training_rows(folder: Path) -> list[dict[str, float]]:
    """What was logged at every outer step."""
    rows = [row for row in metrics(folder) if "train/meta_loss" in row]
    return [{name: float(value) for name, value in row.items()} for row in rows]


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[None]:
    """A list that gets an item at every call of a method."""
    calls: list[None] = []
    method: Callable[..., Any] = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_the_page_is_files_and_commands() -> None:
    assert len(PAGE.splitlines()) <= 400
    assert len(re.findall(r"^```(?:python|yaml)", PAGE, re.M)) == len(FILES)
    used = {word for command in COMMANDS for word in shlex.split(command)}
    yamls = {name for name in FILES if name.endswith(".yaml")}
    assert yamls == {f"my_{kind}.yaml" for kind in KINDS}  # each has a test here
    assert yamls <= used
    modules = {module for name in yamls for module in re.findall(r"(my_\w+)\.\w+", FILES[name])}
    assert {f"{module}.py" for module in modules} | {"my_study.py"} == FILES.keys() - yamls


def test_local_rule_and_term(folder: Path) -> None:
    for name, terms in (("my_local", ["hebb", "decay"]), ("my_term", ["hebb", "oja"])):
        theta = fit(f"{name}.yaml", "--held_out={}") / "checkpoints" / "theta.safetensors"
        rule = load_learner(theta)
        assert isinstance(rule, LocalRule) and [*rule.settings.populations["all"]] == terms
        initial = LocalRule(rule.settings).coefficients["all"]
        assert (rule.coefficients["all"] != initial).all()
    del TERMS["oja"]  # as where nothing imports my_term
    with refused("population all: unknown oja, expected some of"):
        load_learner(theta)


def test_learner(folder: Path) -> None:
    theta = fit("my_rule.yaml", "--held_out={}") / "checkpoints" / "theta.safetensors"
    assert stored_settings(theta) == ("OjaRule", {"embedding_units": 32, "first_rate": 0.05})
    learner = load_learner(theta)
    assert type(learner) is importlib.import_module("my_rule").OjaRule
    assert (learner.get_parameter("log_rate").exp() - 0.05).abs() > 1e-4
    lit_lul(
        "validate", "--config", "my_rule.yaml", "--ckpt_path", str(theta), *SMALLER, "--held_out={}"
    )
    del LEARNERS["OjaRule"]  # as where nothing imports my_rule
    with refused("unknown learner OjaRule"):
        load_learner(theta)


def test_a_learner_of_ones_own_keeps_the_contract(folder: Path, tmp_path: Path) -> None:
    module = importlib.import_module("my_rule")

    def make() -> Case:
        return Case(module.OjaRule(module.OjaSettings(3)).double(), MLP((5, 4, 3)))

    check_learner(make, tmp_path)


def test_learner_without_settings_class_is_named_when_it_is_made() -> None:
    class Nameless(Learner):
        embedding_units = 3

    with pytest.raises(ValueError, match=r"Nameless\.settings_class: must be a dataclass"):
        register(Nameless)
    assert "Nameless" not in LEARNERS


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("my_rule.OjaRule", "my_rule.Oja", "module 'my_rule' has no attribute 'Oja'"),
        ("my_rule.OjaRule", "my_network.CentredMLPs", "not correspond to a subclass of Learner"),
        ("first_rate: 0.05", "first_rate: -1", "first_rate must be above 0, got -1"),
    ],
)
def test_what_is_wrong_with_a_name_is_one_line(
    folder: Path, before: str, after: str, message: str
) -> None:
    path = folder / "my_rule.yaml"
    path.write_text(path.read_text().replace(before, after))
    with refused(message):
        fit("my_rule.yaml", "--held_out={}")


def test_network(folder: Path) -> None:
    fitted = fit("my_network.yaml", *SMALLER_CURVE)
    checkpoint = torch.load(fitted / "checkpoints" / "last.ckpt", weights_only=True)
    used = "CentredMLPs(hidden_layers=(1, 2), hidden_units=(24, 40), activation='relu', "
    assert checkpoint["cohort_settings"]["data.networks"].startswith(used)
    assert '"class": "CentredMLPs"' in checkpoint["callbacks"]["HeldOutCurve:digits"]["held_out"]
    network = importlib.import_module("my_network").CentredMLPs((1, 1), (4, 4)).at(0.5, 5, 3)
    assert network.sizes == (5, 4, 3) and network != MLP((5, 4, 3))
    generator = torch.Generator().manual_seed(0)
    params = network.init(2, generator)
    x = torch.rand(2, 6, 5, generator=generator)
    statistics = network.statistics(params, x)
    brighter = network.embed(params, x[:, :1] + 0.5, statistics)
    torch.testing.assert_close(network.embed(params, x, statistics)[:, :1], brighter)


class Fixed(Estimator):
    """Gives the same gradient whatever it is asked."""

    def __init__(self, gradient: Tensor) -> None:
        self.gradient = gradient

    def __call__(self, learner: Any, objective: Any, carry: Any, truncation: Any) -> Outcome:
        """What it was made with, and the carry."""
        return Outcome(self.gradient, carry, Score(torch.zeros(1), torch.ones(1)))


def test_estimator(folder: Path) -> None:
    clipped = importlib.import_module("my_estimator").Clipped
    nothing: Any = None
    for gradient, expected in (
        ([3.0, 4.0], [0.6, 0.8]),
        ([0.3, 0.4], [0.3, 0.4]),
        ([0.0, 0.0], [0.0, 0.0]),
    ):
        outcome = clipped(Fixed(torch.tensor(gradient)), 1.0)(nothing, nothing, 7, nothing)
        torch.testing.assert_close(outcome.gradient, torch.tensor(expected))
        assert outcome.carry == 7 and outcome.score.accuracy == 1
    options = ("--held_out={}", "--model.estimator.init_args.largest=1.0e-3")
    lit_lul(
        "fit", "--config=quickstart.yaml", *SMALLER, "--held_out={}", "--trainer.max_steps=1"
    )  # the base itself
    (plain,) = training_rows(Path("runs/quickstart/version_0"))
    rows = training_rows(fit("my_estimator.yaml", "--ckpt_path=last", *options))
    assert [row["step"] for row in rows] == [1, 2]  # it resumed the quick start's run
    assert rows[0] == plain
    assert plain["train/gradient_norm"] > 2e-3 > 1e-3 >= rows[1]["train/gradient_norm"] > 0


def inputs(transforms: list[Transform]) -> tuple[Any, Tensor]:
    """Draws and unlabelled inputs (U, T, B, N_0) of characters under transforms."""
    source, _ = GlyphTasks(side=8, ways=[3], transforms=transforms).load("glyphs", None)
    draws = source.plan(source.families[0], 2, SIZES, Seeds([0, 1], [0, 2]))
    batches, _ = source.realise(draws, torch.device("cpu"))
    return draws, torch.stack([batch.x for batch in batches])


def test_transform(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = importlib.import_module("my_noise").Noise
    calls = count_calls(monkeypatch, noise, "apply")
    fit("my_noise.yaml", "--held_out={}")
    assert calls
    others = [Placement(0.5, 0.5, 1.0), Permutation()]
    plain, x = inputs(others)
    noisy, y = inputs([others[0], noise(0.3), others[1]])
    draws = noisy["transforms"]
    assert torch.equal(plain["rows"], noisy["rows"])
    for before, after in zip(plain["transforms"], [draws[0], draws[2]], strict=True):
        for (_, one), (_, other) in zip(tensors_of(before), tensors_of(after), strict=True):
            assert torch.equal(one, other)
    std = draws[1]["std"]
    assert std.max() > 0.2 > 0.1 > std.min()
    measured = (y - x).transpose(0, 1).flatten(1).std(1)
    torch.testing.assert_close(measured, std, rtol=0.15, atol=0)
    with pytest.raises(InvalidInput, match="largest must be at least 0, got -1"):
        noise(largest=-1)


def test_source(folder: Path) -> None:
    fitted = fit("my_source.yaml", "--held_out={}")
    logged = {name for row in metrics(fitted) for name in row}
    assert {"train/meta_loss/blobs-5", "train/meta_loss/glyphs-10"} <= logged
    source = importlib.import_module("my_source").BlobTasks
    training, validation = source([5]).load("rows", None)
    assert sorted([*training.pool, *validation.pool]) == list(range(20))
    draws = training.plan(training.families[0], 2, SIZES, Seeds([0, 1], [0, 2]))
    batches, labelled = training.realise(draws, torch.device("cpu"))
    assert next(iter(batches)).x.shape == (40, 9, 40)
    assert labelled.support_y.sum(-2).eq(2).all()  # two labels for each of five classes
    with pytest.raises(InvalidInput, match="16 classes asked for, 15 to draw from"):
        source([16]).load("rows", None)


def test_study(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "python my_study.py" in COMMANDS
    runpy.run_path("my_study.py", run_name="__main__")
    page = Path("my_study.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^\| (competitive[^|]*) \|", page, re.M)
    assert (first, second) == ("competitive, initial θ", "competitive")
    monkeypatch.delattr("lit_lul.apply_rule")  # nothing is measured again
    monkeypatch.setattr("lit_lul.apply_rule", None, raising=False)
    runpy.run_path("my_study.py", run_name="__main__")
    assert Path("my_study.md").read_text(encoding="utf-8") == page
