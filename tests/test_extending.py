"""The files of docs/extending.md run as they are, and do what the page says."""

import importlib
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lit_lul, metrics
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.estimators import Estimator, Outcome
from lit_lul.files.theta import load_learner, stored_settings
from lit_lul.learners import LEARNERS
from lit_lul.learners.learner import Learner, register
from lit_lul.networks import MLP
from lit_lul.objectives import Labelled, Score
from lit_lul.tasks import GlyphTasks
from lit_lul.tasks.sizes import ProblemSizes
from lit_lul.tasks.source import Seeds
from lit_lul.tasks.transforms import Permutation, Placement, Transform
from lit_lul.trees import tensors_of

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.M | re.S))
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.split("\n")
    if line
]
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
    (run_folder / "configs").symlink_to(ROOT / "configs")
    for name, text in FILES.items():
        (run_folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(run_folder))
    learners = dict(LEARNERS)
    yield run_folder
    LEARNERS.clear()
    LEARNERS.update(learners)
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def run(command: str, *options: str) -> None:
    """Run a command of the page in this process."""
    assert command in COMMANDS
    python, *words = shlex.split(command)
    assert python == "python"
    if words[:2] == ["-m", "lit_lul"]:
        lit_lul(*words[2:], *SMALLER, *options)
    else:
        runpy.run_path(words[0], run_name="__main__")


def fit(name: str, *options: str) -> Path:
    """Run the page's fit of a configuration, with smaller steps; where it writes."""
    command = next(line for line in COMMANDS if f"--config {name}" in line)
    run(command, *options)
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
    assert len(re.findall(r"^```(?:python|yaml)", PAGE, re.M)) == len(FILES)
    assert {name for name in FILES if name.endswith(".yaml")} == {
        f"my_{kind}.yaml"  # each has a test here
        for kind in ("rule", "network", "objective", "estimator", "noise", "zoom", "source")
    }
    assert all(len(text.splitlines()) <= 60 for text in FILES.values())
    used = {word for command in COMMANDS for word in shlex.split(command)}
    for name, text in FILES.items():
        if name.endswith(".yaml"):
            assert name in used
            modules = re.findall(r"class_path: (\w+)\.\w+$", text, re.M)
            assert modules and all(f"{module}.py" in FILES for module in modules)


def test_learner(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theta = fit("my_rule.yaml", "--held_out={}") / "checkpoints" / "theta.safetensors"
    settings = {"embedding_units": 32, "layers": 2, "first_rate": 0.05}
    assert stored_settings(theta) == ("OjaRule", settings)
    learner = load_learner(theta)
    assert type(learner) is importlib.import_module("my_rule").OjaRule
    rates = learner.get_parameter("log_rates").exp()
    assert rates.shape == (2,) and ((rates - 0.05).abs() > 1e-4).all()
    with pytest.raises(InvalidInput, match="OjaRule expects an MLP of up to 2 layers"):
        learner.check(MLP((5, 4, 4, 32)))
    run("python use_my_rule.py")
    assert "torch.Size([500, 32])" in capsys.readouterr().out
    lit_lul(
        "validate", "--config", "my_rule.yaml", "--ckpt_path", str(theta), *SMALLER, "--held_out={}"
    )
    del LEARNERS["OjaRule"]  # as where nothing imports my_rule
    with pytest.raises(InvalidInput, match="unknown learner OjaRule") as raised:
        load_learner(theta)
    assert "\n" not in str(raised.value)


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
        ("my_rule.OjaRule", "my_network.LayerNormMLPs", "not correspond to a subclass of Learner"),
        ("layers: 2", "layers: 1", "OjaRule expects an MLP of up to 1 layers"),
    ],
)
def test_what_is_wrong_with_a_name_is_one_line(
    folder: Path, before: str, after: str, message: str
) -> None:
    path = folder / "my_rule.yaml"
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(InvalidInput, match=message) as raised:
        fit("my_rule.yaml", "--held_out={}")
    assert "\n" not in str(raised.value)


def test_network(folder: Path) -> None:
    fitted = fit("my_network.yaml", *SMALLER_CURVE)
    checkpoint = torch.load(fitted / "checkpoints" / "last.ckpt", weights_only=True)
    used = "LayerNormMLPs(hidden_layers=(1, 2), hidden_units=(24, 40), activation='relu')"
    assert checkpoint["cohort_settings"]["data.networks"] == used
    assert '"class": "LayerNormMLPs"' in checkpoint["callbacks"]["HeldOutCurve:digits"]["held_out"]
    network = importlib.import_module("my_network").LayerNormMLPs((1, 1), (4, 4)).at(0.5, 5, 3)
    assert network.sizes == (5, 4, 3) and network != MLP((5, 4, 3))
    generator = torch.Generator().manual_seed(0)
    params = network.init(2, generator)
    x = torch.rand(2, 6, 5, generator=generator)
    together = network.embed(params, x, network.statistics(params, x))
    torch.testing.assert_close(network.embed(params, x[:, :1]), together[:, :1])
    z = network.activations(params, x).z[-1] - params["biases"][-1].unsqueeze(-2)
    torch.testing.assert_close(z.mean(-1), torch.zeros(2, 6), rtol=0, atol=1e-5)


def labelled() -> Labelled:
    """Two classes with two examples each in the plane, and a column of regression targets."""
    support = torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 2.0]])
    query = torch.tensor([[1.0, 1.0], [2.5, 1.0], [1.5, 1.0]])
    targets = torch.tensor([[9.0], [9.0], [9.0], [9.0]])
    support_y = torch.cat([torch.eye(2)[[0, 0, 1, 1]], targets], dim=-1)
    query_y = torch.cat([torch.eye(2)[[0, 1, 1]], targets[:3]], dim=-1)
    is_class = torch.tensor([[True, True, False]])
    x, y, query_x, query_y = (t[None, None] for t in (support, support_y, query, query_y))
    return Labelled(x, y, query_x, query_y, is_class, torch.ones_like(is_class))


def test_objective(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prototypes = importlib.import_module("my_objective").Prototypes
    calls = count_calls(monkeypatch, prototypes, "__call__")
    rows = training_rows(fit("my_objective.yaml", "--held_out={}"))
    assert len(calls) == 2 * 2 + 1  # cohorts of both outer steps, and of validation
    assert all(0 < row["train/meta_loss"] < 20 for row in rows)
    with monkeypatch.context() as patch:
        patch.setattr(MLP, "embed", lambda network, params, x, statistics=None: x)
        score = prototypes(temperature=2.0)(MLP((2, 2)), {}, labelled())
    # squared distances to the means (0, 1) and (4, 1)
    logits = -torch.tensor([[1.0, 9.0], [6.25, 2.25], [2.25, 6.25]]) / 2
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1]))
    torch.testing.assert_close(score.loss, loss[None])
    torch.testing.assert_close(score.accuracy, torch.tensor([2 / 3]))
    with pytest.raises(InvalidInput, match=r"temperature 0\.0"):
        prototypes(0.0)


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
    (plain,) = training_rows(fit_quickstart("--trainer.max_steps=1"))
    rows = training_rows(fit("my_estimator.yaml", "--ckpt_path=last", *options))
    assert [row["step"] for row in rows] == [1, 2]  # it resumed the quick start's run
    assert rows[0] == plain
    assert plain["train/gradient_norm"] > 2e-3 > 1e-3 >= rows[1]["train/gradient_norm"] > 0


def fit_quickstart(*options: str) -> Path:
    """A run of the base itself."""
    lit_lul("fit", "--config", "configs/quickstart.yaml", *SMALLER, "--held_out={}", *options)
    return Path("runs/quickstart/version_0")


def inputs(transforms: list[Transform]) -> tuple[dict[str, Any], Tensor]:
    """Plan and unlabelled inputs (U, T, B, N_0) of characters under transforms."""
    source, _ = GlyphTasks(side=8, ways=[3], transforms=transforms).load("glyphs", None)
    plan = source.plan(source.families[0], 2, SIZES, Seeds([0, 1], [0, 2]))
    batches, _ = source.realise(plan, torch.device("cpu"))
    return plan, torch.stack([batch.x for batch in batches])


def test_transform(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = importlib.import_module("my_noise").Noise
    calls = count_calls(monkeypatch, noise, "apply")
    fit("my_noise.yaml", "--held_out={}")
    assert calls
    others = [Placement(0.5, 0.5, 1.0), Permutation()]
    plain, x = inputs(others)
    noisy, y = inputs([others[0], noise(0.5, 0.3), others[1]])
    draws = noisy["transforms"]
    assert torch.equal(plain["rows"], noisy["rows"])
    for before, after in zip(plain["transforms"], [draws[0], draws[2]], strict=True):
        for (_, one), (_, other) in zip(tensors_of(before), tensors_of(after), strict=True):
            assert torch.equal(one, other)
    std = draws[1]["std"]
    quiet = std == 0
    assert 10 <= quiet.sum() <= 30 and std.max() > 0.2
    assert torch.equal(x[:, quiet], y[:, quiet])
    assert (x != y)[:, ~quiet].all()
    measured = (y - x)[:, ~quiet].transpose(0, 1).flatten(1).std(1)
    torch.testing.assert_close(measured, std[~quiet], rtol=0.15, atol=0)
    with pytest.raises(InvalidInput, match=r"Noise share 1\.5"):
        noise(share=1.5)


def test_warp(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoom = importlib.import_module("my_zoom").Zoom
    calls = count_calls(monkeypatch, zoom, "geometry")
    fit("my_zoom.yaml", "--held_out={}")
    assert calls
    _, x = inputs([])
    assert torch.equal(inputs([zoom(1.0)])[1], x)
    _, y = inputs([zoom(1.5)])
    assert (x != y).any(-1).all()
    images = torch.zeros(1, 1, 8, 8)
    images[..., 2:6, 2:6] = 1.0  # a square of half the side, enlarged and halved
    areas = [
        zoom().geometry({}, torch.tensor([factor]), 8).sample(images).sum().item()
        for factor in (1.0, 1.5, 0.5)
    ]
    assert areas == pytest.approx([16, 36, 4])


def test_source(folder: Path) -> None:
    run("python make_rows.py")
    fitted = fit("my_source.yaml", "--held_out={}")
    logged = {name for row in metrics(fitted) for name in row}
    assert {"train/meta_loss/rows-5", "train/meta_loss/glyphs-10"} <= logged
    source = importlib.import_module("my_source").NpzTasks("rows.npz", [5])
    training, validation = source.load("rows", None)
    assert sorted([*training.pool, *validation.pool]) == list(range(20))
    assert validation.pool.tolist() == [15, 16, 17, 18, 19]
    plan = training.plan(training.families[0], 2, SIZES, Seeds([0, 1], [0, 2]))
    batches, drawn = training.realise(plan, torch.device("cpu"))
    with np.load("rows.npz") as file:
        class_of = {row.tobytes(): int(y) for row, y in zip(file["x"], file["y"], strict=True)}
    for batch in batches:
        assert {class_of[row.numpy().tobytes()] for row in batch.x.flatten(0, 1)} == set(range(15))
    for x, y in zip(drawn.support_x[0], drawn.support_y[0], strict=True):
        classes = [class_of[row.numpy().tobytes()] for row in x]
        assert len(set(classes)) == 5
        assert len(set(zip(classes, y.argmax(-1).tolist(), strict=True))) == 5


def test_what_is_wrong_with_rows_is_one_line(folder: Path) -> None:
    run("python make_rows.py")
    source = importlib.import_module("my_source").NpzTasks
    for path in ("nowhere.npz", "my_rule.py"):
        with pytest.raises(InvalidInput, match=rf"{path}: expected \.npz with x and y"):
            source(path, [5]).load("rows", None)
    with pytest.raises(InvalidInput, match="16 classes asked for, 15 to draw from"):
        source("rows.npz", [16]).load("rows", None)
    training, _ = source("rows.npz", [5], transforms=[Placement()]).load("rows", None)
    with pytest.raises(InvalidInput, match="Placement: expected images"):
        training.plan(training.families[0], 2, SIZES, Seeds([0, 1], [0, 2]))
