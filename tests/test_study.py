"""The mechanism of studies: what is measured and stored, configurations, and what a page says."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import lit_lul
from test_results import SETTINGS, write_rule

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import Curve
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.learners import UnsupervisedUpdate
from lit_lul.report import command
from lit_lul.report.page import Check, Difference, Page, Picture, Table, difference, every, percent
from lit_lul.report.plots import bars, lines
from lit_lul.report.rows import Row, RowFile
from lit_lul.report.study import (
    DataCache,
    Machine,
    Measurement,
    Part,
    Study,
    load_rules,
    page_path,
    parse,
    read_values,
    spell,
)


def row(key: str, *draws: float) -> Row:
    return Row(key, [0], {"ridge": [list(draws)]})


@dataclass
class Coins(Part[Row]):
    """A part whose measurements are counted, and may be missing or interrupted."""

    name: str
    keys: dict[str, str]
    errors: dict[str, BaseException] = field(default_factory=dict)
    measured: list[str] = field(default_factory=list)
    kind: type[Row] = Row

    def measurements(self) -> list[Measurement[Row]]:
        """One for each key."""
        if "all" in self.errors:
            raise self.errors["all"]

        def measure(name: str) -> Row:
            if name in self.errors:
                raise self.errors[name]
            self.measured.append(name)
            return row(self.keys[name], 0.5, 0.7)

        return [
            Measurement(name, key, 1.0, partial(measure, name)) for name, key in self.keys.items()
        ]

    def protocol(self) -> object:
        """The name."""
        return {"of": self.name}


OUT = Path("out/page.md")


def page_of(rows: Any) -> Page:
    cells = {n: [r[n].curve("ridge").mean[-1]] for r in rows.values() for n in r}
    return Page("Coins", "They fall.", "toss", [Table(["a"], {"": cells})])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_rows_are_stored_at_once_and_found_by_their_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = Coins("first", {"x": "1", "y": "2"}), Coins("second", {"z": "3"})
    study = Study("coins", [first, second], page_of)
    study.run(OUT, ["first"])
    assert "first: y" in capsys.readouterr().err
    assert "Not measured yet, or not all of it: second." in OUT.read_text()
    stored = json.loads(Path("out/page/first.json").read_text())
    assert stored["dataset"], stored["protocol"] == ("first", {"of": "first"})
    first.keys |= {"y": "new", "renamed": "1"}
    study.run(OUT)
    assert first.measured == ["x", "y", "y"], "a row with the key of another name is not repeated"
    text = OUT.read_text()
    assert "Not measured" not in text
    assert "| renamed | **60.0** | **60.0** |" in text
    with pytest.raises(InvalidInput, match="--only third: expected some of first, second"):
        study.run(OUT, ["third"])


def test_what_cannot_be_measured_is_on_the_page_with_its_reason() -> None:
    absent, unknown = InvalidInput("no data"), InvalidInput("no run")
    some = Coins("some", {"x": "1", "y": "2", "z": "3"}, {"x": absent, "y": absent})
    Study("coins", [some, Coins("none", {"w": "4"}, {"all": unknown})], page_of).run(OUT)
    text = OUT.read_text()
    assert some.measured == ["z"]
    assert text.count("some is left out: no data.") == 1
    assert "none is left out: no run." in text


def test_an_interrupted_study_has_a_page_and_resumes() -> None:
    coins = Coins("coins", {"x": "1", "y": "2"}, {"y": KeyboardInterrupt()})
    study = Study("coins", [coins], page_of)
    with pytest.raises(KeyboardInterrupt):
        study.run(OUT)
    assert "| x | **60.0** |" in OUT.read_text()
    coins.errors.clear()
    study.run(OUT)
    assert coins.measured == ["x", "y"]


def test_a_spoilt_file_is_named() -> None:
    Path("page").mkdir()
    Path("page/x.json").write_text('{"rows": [')
    with pytest.raises(InvalidInput, match=r"page/x.json: expected rows of x; remove it"):
        RowFile("x", Path("page/x.json"), Row)


def test_a_table_has_means_first_and_the_best_in_bold() -> None:
    table = Table(["a", "b"], {"good": {"x": [0.5, 0.6], "y": [0.7, None]}, "none": {}})
    assert table.markdown().splitlines() == [
        "|  | mean | a | b |",
        "| --- | ---: | ---: | ---: |",
        "| *good* |  |  |  |",
        "| x | **55.0** | 50.0 | **60.0** |",
        "| y |  | **70.0** |  |",
    ]
    losses = Table(
        ["a"], {"": {"x": [0.25], "y": ["diverges"]}}, form=".2g", best="low", mean=False
    )
    assert losses.markdown().splitlines()[2:] == ["| x | **0.25** |", "| y | diverges |"]


def test_a_check_is_held_or_not_or_not_resolved() -> None:
    one, other = row("", 0.5, 0.7, 0.6), row("", 0.4, 0.6, 0.5)
    assert difference(one, other).mean == pytest.approx(10)
    assert percent(one) == "60.0% ± 5.8%"
    good, bad, unclear = Difference(3, 1), Difference(-3, 1), Difference(1, 1)
    assert [d.held for d in (good, bad, unclear)] == [True, False, None]
    assert every("c", {"a": good}) == Check("c", "least +3.0 ± 1.0 points (a)", True)
    assert every("c", {"a": good, "b": unclear}).held is None
    assert every("c", {"a": bad, "b": unclear}).numbers.endswith("; not at a, b")
    checks = [every("c", {"a": found}) for found in (good, bad, unclear, good)]
    Page("T", "F.", "run", sections={"S": [*checks, "words"]}).write(OUT)
    text = OUT.read_text()
    assert "Claims: 2 held, 1 not held, 1 not resolved." in text
    assert "- **not resolved**: c: least +1.0 ± 1.0 points (a).\n- **held**" in text
    assert "## S\n" in text
    assert "(a).\n\nwords\n" in text


def test_pictures_are_written_beside_the_page() -> None:
    curve = Curve((0, 1), (0.1, 0.2), (0.01, 0.01))
    flat = Curve((0,), (0.3,), (0.01,))
    one = lines({"a": {"x": curve, "y": flat}, "b": {"x": curve}}, "steps", "accuracy", log=("x",))
    two = bars({"a": {"x": (1, 0.5, 2), "y": (2, 1, 3)}}, "rank")
    Page(
        "T", "F.", "run", [Picture("one", one, "caption", vector=True), Picture("two", two)]
    ).write(OUT)
    assert "![caption](page/one.png)\n\n*caption*" in OUT.read_text()
    assert {path.name for path in Path("out/page").iterdir()} == {"one.png", "one.svg", "two.png"}


def test_a_configuration_has_a_base_known_keys_and_a_quick_look() -> None:
    Path("below.yaml").write_text("draws: 5\nshared: {steps: 100, units: 3}\n")
    Path("own.yaml").write_text("base: below.yaml\nquick: {shared: {steps: 2}}\n")
    keys = {"draws", "shared"}
    assert read_values(Path("own.yaml"), keys)["shared"] == {"steps": 100, "units": 3}
    assert read_values(Path("own.yaml"), keys, quick=True)["shared"] == {"steps": 2, "units": 3}
    with pytest.raises(InvalidInput, match=r"own.yaml: unknown draws, expected quick, shared"):
        read_values(Path("own.yaml"), {"shared"})
    with pytest.raises(InvalidInput, match=r"own.yaml: .*many"):
        parse(Path("own.yaml"), dict[str, HeldOut], {"digits": {"draws": "many"}})
    assert page_path(Path("docs/suite.md"), quick=True) == Path("docs/suite_quick.md")
    assert page_path(Path("docs/suite_quick.md"), quick=True) == Path("docs/suite_quick.md")
    with pytest.raises(InvalidInput, match=r"--out page: expected a name that ends in .md"):
        page_path(Path("page"))
    words = spell("suite", rules=["a", "b c"], quick=True, run=None, only=[])
    assert words == "python -m lit_lul report suite --rules a 'b c' --quick"


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "float32")])
def test_the_machine_decides_the_precision(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_lul.report.study.has_native_bf16", lambda device: native)
    monkeypatch.setattr("lit_lul.report.study.has_compiler", lambda: native)
    auto = Machine.read(Path("x"), {"precision": "auto", "compile": "auto"})
    assert auto == Machine(precision, native, None)  # type: ignore[arg-type]  # a literal
    assert Machine.read(Path("x"), {}) == Machine("float32", False, None)
    with pytest.raises(InvalidInput, match="expected auto, float32 or bf16"):
        Machine.read(Path("x"), {"precision": "fp8"})
    with pytest.raises(InvalidInput, match="expected auto, true or false"):
        Machine.read(Path("x"), {"compile": "maybe"})


def test_rules_have_their_initial_theta_before_them() -> None:
    write_rule(Path("mine.safetensors"), seed=5)
    learners = load_rules(["mine.safetensors"])
    assert list(learners) == ["mine, initial θ", "mine"]
    initial = learners["mine, initial θ"]
    assert isinstance(initial, UnsupervisedUpdate)
    assert initial.settings == SETTINGS
    with pytest.raises(InvalidInput, match="names of their own"):
        load_rules(["mine.safetensors", "mine.safetensors"])
    with pytest.raises(InvalidInput, match="names of their own"):
        load_rules(["mine.safetensors"], taken=["mine"])


def test_data_that_are_missing_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def load(self: HeldOut, root: str | None) -> None:
        tried.append(self.dataset)
        raise InvalidInput("no data")

    monkeypatch.setattr(HeldOut, "load", load)
    cache = DataCache(None)
    for _ in range(2):
        with pytest.raises(InvalidInput, match="no data"):
            cache.load(HeldOut())
    assert tried == ["digits"]


def test_studies_are_imported_from_a_clone_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = """
import atexit, sys
sys.path.insert(0, sys.argv.pop())
from lit_lul.report.command import report
atexit.register(lambda: print([name for name in sys.modules if name.startswith("studies")]))
report(["suite", "--help"])
"""
    words = [sys.executable, "-c", code, str(command.CLONE)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    monkeypatch.setattr(command, "CLONE", tmp_path)
    with pytest.raises(
        InvalidInput, match="report figures: studies need a clone of the repository"
    ):
        lit_lul("report", "figures", "--rules", "small")
