"""The command `sweep`: what it runs, that it goes on where it ended, and what it refuses."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import lit_lul

from lit_lul.errors import InvalidInput
from lit_lul.sweep import make_runs, read_sweep

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


def write_sweep(**changes: object) -> None:
    content = {
        "command": ["${env}", "${interpreter}", "run.py", "${args}"],
        "method": "grid",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {"x": {"values": [2, 3]}, "y": {"values": ["a", [4, 5]]}},
    }
    Path("sweep.yaml").write_text(yaml.safe_dump(content | changes))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.py").write_text(SCRIPT)
    write_sweep()


def calls() -> list[str]:
    return Path("calls").read_text().split("\n")[:-1]


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


def test_random_draws_are_the_same_every_time() -> None:
    parameters = {
        "x": {"distribution": "uniform", "min": 1, "max": 2},
        "y": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0},
        "z": {"values": ["a", "b"]},
    }
    write_sweep(method="random", run_cap=40, parameters=parameters)
    content = read_sweep(Path("sweep.yaml"))
    runs, again = (list(make_runs(Path("sweep.yaml"), content, Path("out"))) for _ in range(2))
    assert runs == again
    values = [run.values for run in runs]
    assert len({run.folder for run in runs}) == 40
    assert all(1 <= v["x"] <= 2 and 1e-4 <= v["y"] <= 1 for v in values)
    assert 8 < sum(v["y"] < 1e-2 for v in values) < 32
    assert {v["z"] for v in values} == {"a", "b"}


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
    write_sweep(**changes)
    with pytest.raises(InvalidInput, match=message) as raised:
        lit_lul("sweep", "sweep.yaml", "--out", "out")
    assert "\n" not in str(raised.value)
    assert not Path("out").exists()
