"""Sweeps: each that ships is valid and logs its metric; what the command runs and refuses."""

import csv
import json
from collections.abc import Iterator
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
import yaml
from conftest import Ready, lit_lul, refused
from real_data import real_data
from test_configs import CONFIGS, IN_COLOUR, SMALLER
from wandb.sdk.launch.sweeps.utils import (
    create_sweep_command,
    create_sweep_command_args,
    load_sweep_config,
)

from lit_lul.errors import InvalidInput
from lit_lul.files.configs import with_bases
from lit_lul.learners import UpdateSettings
from lit_lul.sweep import make_runs, read_sweep
from lit_lul.training.metrics import FamilyMeans

SWEEPS = sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))
CHANGES = SWEEPS[0].parent / "ablations"
KEYS = {"name", "project", "program", "command", "method", "metric", "parameters"}
ON_IMAGES = "configs/small.yaml"
ALL_PLANES = list(UpdateSettings().planes)


def load(path: Path) -> dict[str, Any]:
    """A sweep as W&B reads it."""
    sweep = load_sweep_config(str(path))
    assert sweep is not None
    return sweep


def candidates(parameter: dict[str, Any]) -> list[Any]:
    """Values that W&B may draw: of a long list and of a distribution its ends and its middle."""
    match parameter:
        case {"values": [*values]} if len(parameter) == 1:
            return values if len(values) <= 4 else [values[0], values[len(values) // 2], values[-1]]
        case {"distribution": "uniform", "min": low, "max": high} if len(parameter) == 3:
            return [low, (low + high) / 2, high]
        case {"distribution": "log_uniform_values", "min": low, "max": high} if len(parameter) == 3:
            return [low, sqrt(low * high), high]
    raise ValueError(f"{parameter}: expected a list of values or a known distribution")


def samples(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Draws in which every candidate of every parameter occurs."""
    columns = {name: candidates(p) for name, p in sweep["parameters"].items()}
    count = max(len(values) for values in columns.values())
    return [{name: v[i % len(v)] for name, v in columns.items()} for i in range(count)]


def command_line(sweep: dict[str, Any], sample: dict[str, Any]) -> list[str]:
    """What the agent starts for a draw, after `python -m lit_lul`."""
    args = create_sweep_command_args({"args": {k: {"value": v} for k, v in sample.items()}})
    macros = {"${env}": ["/usr/bin/env"], "${interpreter}": ["python"], "${args}": args["args"]}
    command = create_sweep_command(list(sweep["command"]))
    words = [word for part in command for word in macros.get(part, [part])]
    assert words[:4] == ["/usr/bin/env", "python", "-m", "lit_lul"]
    return words[4:]


@pytest.fixture
def in_repository(run_folder: Path) -> Path:
    """A working directory in which `configs/` and `sweeps/` are found."""
    for folder in (CONFIGS, CONFIGS.parent / "sweeps"):
        (run_folder / folder.name).symlink_to(folder)
    return run_folder


def check(sweep: dict[str, Any]) -> None:
    """Each sampled command line is valid, and what it sets arrives.

    One goes all the way to its run; its parser then parses the others and makes their objects.
    """
    fixed = command_line(sweep, {})
    merged = with_bases(fixed)  # once, because it is slow
    first, *others = samples(sweep)
    with pytest.raises(Ready) as ready:
        lit_lul(*command_line(sweep, first))
    parser = ready.value.cli.parser
    check_arrived(first, ready.value.cli.config)
    for sample in others:
        words = command_line(sweep, sample)
        assert words[: len(fixed)] == fixed
        config = parser.parse_args([*merged, *words[len(fixed) :]])
        parser.instantiate_classes(config)
        check_arrived(sample, config)


def check_arrived(sample: dict[str, Any], config: Any) -> None:
    """What a command line sets is in its configuration."""
    for name, value in sample.items():
        for keys, expected in settings(name.split("."), value):
            arrived = config["fit"]
            for key in keys:
                arrived = arrived[key] if key in arrived else arrived["init_args"][key]
            assert (list(arrived) if isinstance(arrived, tuple) else arrived) == expected, name


def settings(keys: list[str], value: Any) -> Iterator[tuple[list[str], Any]]:
    """What a value sets: itself, or all that is in a configuration file."""
    if keys == ["config"]:
        value, keys = yaml.safe_load(Path(value).read_text()) or {}, []
    if isinstance(value, dict):
        for key, part in value.items():
            yield from settings([*keys, key], part)
    else:
        yield keys, value


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_form_of_the_file(path: Path) -> None:
    sweep = load(path)
    ends_by_itself = sweep["method"] == "grid"
    assert sweep["method"] in ("grid", "random", "bayes")
    assert set(sweep) == (KEYS if ends_by_itself else KEYS | {"run_cap"})
    assert sweep["metric"]["name"].startswith("val/"), "meta-validation, no data of the curves"
    assert sweep["metric"] == {"name": sweep["metric"]["name"], "goal": "maximize"}
    assert "configs/sweep.yaml" in sweep["command"]


@pytest.mark.usefixtures("in_repository", "until_ready")
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sampled_commands_are_valid(path: Path) -> None:
    check(load(path))


@pytest.mark.usefixtures("in_repository", "until_ready")
@pytest.mark.parametrize(
    ("name", "value", "culprit"),
    [
        ("model.learner.settings.hiden_channels", 8, "hiden_channels"),
        ("model.learner.settings.planes", ["hebb", "hebbb"], "hebbb"),
        ("model.learner.settings.inner_rate", None, "inner_rate"),
    ],
)
def test_the_check_finds_mistakes(name: str, value: Any, culprit: str) -> None:
    sweep = load(SWEEPS[0])
    sweep["parameters"] = {name: {"values": [value]}}
    with pytest.raises(InvalidInput, match=culprit):
        check(sweep)
    with pytest.raises(ValueError, match="unifrom"):
        candidates({"distribution": "unifrom", "min": 0, "max": 1})


def commands() -> Iterator[Any]:
    """Sweeps with the same command; those on datasets of images are marked."""
    sweeps: dict[tuple[str, ...], list[Path]] = {}
    for path in SWEEPS:
        sweeps.setdefault(tuple(load(path)["command"]), []).append(path)
    for command, paths in sweeps.items():
        marks = [real_data] if ON_IMAGES in command else []
        yield pytest.param(paths, id=" ".join(path.stem for path in paths), marks=marks)


@pytest.mark.parametrize("paths", commands())
def test_a_run_logs_what_it_is_judged_by(
    paths: list[Path], in_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    sweeps = [load(path) for path in paths]
    colour = [IN_COLOUR] if ON_IMAGES in sweeps[0]["command"] else []
    lit_lul(*command_line(sweeps[0], samples(sweeps[0])[0]), *SMALLER, *colour)
    wandb.finish()
    (metrics,) = in_repository.glob("runs/*/version_0/metrics.csv")
    with metrics.open(newline="") as file:
        *_, logged = csv.DictReader(file)
    for sweep in sweeps:
        assert isfinite(float(logged[sweep["metric"]["name"]]))


def test_planes_are_left_out_one_at_a_time() -> None:
    (path,) = [path for path in SWEEPS if path.stem == "planes"]
    values = load(path)["parameters"]["model.learner.settings.planes"]["values"]
    without = [[p for p in ALL_PLANES if p != left_out] for left_out in ALL_PLANES]
    assert values == [ALL_PLANES, *without]


def test_ablations_are_the_files_of_their_folder() -> None:
    listed = set()
    for path in SWEEPS:
        parameter = load(path)["parameters"].get("config", {"values": []})
        listed |= {Path(value).stem for value in parameter["values"]}
    files = {path.stem: yaml.safe_load(path.read_text()) for path in CHANGES.glob("*.yaml")}
    assert listed == files.keys()
    for left_out in ALL_PLANES:
        learner = files[f"without_{left_out}"]["model"]["learner"]
        assert learner["init_args"]["settings"]["planes"] == [
            plane for plane in ALL_PLANES if plane != left_out
        ]


def test_the_mean_over_families_does_not_depend_on_their_shares() -> None:
    means = []
    for often, seldom in ((3, 1), (1, 3)):
        metric = FamilyMeans(["a", "b", "never seen"])
        metric.update(torch.full((often,), 0.2), 0)
        metric.update(torch.full((seldom,), 0.6), 1)
        means.append(metric.compute())
    assert float(means[0]["families"]) == pytest.approx(0.4)
    assert float(means[1]["families"]) == pytest.approx(0.4)
    assert float(means[0][""]) != pytest.approx(float(means[1][""]))


SCRIPT = """
import sys
from pathlib import Path
values = dict(word[2:].split("=", 1) for word in sys.argv[1:])
logger = values["trainer.logger"]
name = logger.partition('"name": "')[2].partition('"')[0]
root = Path(logger.partition('"save_dir": "')[2].partition('"')[0])
with open("calls", "a") as file:
    file.write(values["x"] + values["y"] + "\\n")
if values["x"] == "3" and not Path("repaired").exists():
    sys.exit("no threes")
folder = root / name / "version_0"
folder.mkdir(parents=True, exist_ok=True)
(folder / "metrics.csv").write_text(f"step,val/accuracy\\n1,0.25\\n2,\\n3,0.{values['x']}\\n")
"""
"""A run that needs no time."""


def write_grid(**changes: object) -> None:
    content = {
        "command": ["${env}", "${interpreter}", "run.py", "${args}"],
        "method": "grid",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {"x": {"values": [2, 3]}, "y": {"values": ["a", [4, 5]]}},
    }
    Path("sweep.yaml").write_text(yaml.safe_dump(content | changes))


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.py").write_text(SCRIPT)
    write_grid()


def calls() -> list[str]:
    return Path("calls").read_text().split("\n")[:-1]


@pytest.mark.usefixtures("script")
def test_a_grid_runs_once_and_failed_runs_are_named_and_run_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InvalidInput, match=r"^2 of 4 runs failed: .*002-3-a/output.txt"):
        lit_lul("sweep", "sweep.yaml", "--out", "out")
    assert "000-2-a: val/accuracy 0.200" in capsys.readouterr().err
    assert calls() == ["2a", "2[4, 5]", "3a", "3[4, 5]"]
    assert Path("out/002-3-a/output.txt").read_text() == "no threes\n"
    Path("repaired").touch()
    lit_lul("sweep", "sweep.yaml", "--out", "out")
    assert calls()[4:] == ["3a", "3[4, 5]"]
    lit_lul("sweep", "sweep.yaml", "--out", "out")
    assert len(calls()) == 6
    run = json.loads(Path("out/000-2-a/run.json").read_text())
    assert run["values"] == {"x": 2, "y": "a"}
    assert run["metrics"] == {"step": 3, "val/accuracy": 0.2}


@pytest.mark.usefixtures("script")
def test_random_draws_are_the_same_every_time() -> None:
    parameters = {
        "x": {"distribution": "uniform", "min": 1, "max": 2},
        "y": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0},
        "z": {"values": ["a", "b"]},
    }
    write_grid(method="random", run_cap=40, parameters=parameters)
    content = read_sweep(Path("sweep.yaml"))
    runs, again = (list(make_runs(Path("sweep.yaml"), content, Path("out"))) for _ in range(2))
    assert runs == again
    values = [run.values for run in runs]
    assert len({run.folder for run in runs}) == 40
    assert all(1 <= v["x"] <= 2 and 1e-4 <= v["y"] <= 1 for v in values)
    assert 8 < sum(v["y"] < 1e-2 for v in values) < 32
    assert {v["z"] for v in values} == {"a", "b"}


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "bayes"}, "method bayes: expected grid or random"),
        ({"parameters": None}, "expected a sweep with a parameters"),
        ({"parameters": {"x": {"min": 1, "max": 2}}}, "parameter x: expected a list of values"),
        ({"method": "random"}, "expected run_cap"),
        (
            {"method": "random", "run_cap": 1, "parameters": {"x": {"distribution": "beta"}}},
            "distribution beta: expected uniform",
        ),
        (
            {"method": "random", "run_cap": 1, "parameters": {"x": {"distribution": "uniform"}}},
            "expected min and max",
        ),
    ],
)
def test_what_cannot_run_is_one_line(changes: dict[str, object], message: str) -> None:
    write_grid(**changes)
    with refused(message):
        lit_lul("sweep", "sweep.yaml", "--out", "out")
    assert not Path("out").exists()
