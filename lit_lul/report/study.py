"""The one mechanism for studies: what is measured, stored, and written as a page.

A study is a command such as `report suite`. It reads a configuration, makes a `Study`, and runs it:

    def tiny(rules: list[str], only: list[str] | None = None,
             config: Path = Path("configs/tiny.yaml"), out: Path = Path("docs/tiny.md"),
             quick: bool = False) -> None:
        out = page_path(out, quick)
        values = read_values(config, {"datasets", *MACHINE}, quick)      # merges `base` and `quick`
        datasets = parse(config, dict[str, HeldOut], values["datasets"]) # checks types
        machine = Machine.read(config, values)                           # precision, compile, data
        learners = load_rules(rules, compiled=machine.compile)           # "NAME, initial θ", "NAME"
        command = spell("tiny", rules=rules, config=config, out=out, quick=quick)
        parts = [MyPart(name, entry, learners, machine) for name, entry in datasets.items()]
        Study("tiny", parts, lambda rows: my_page(command, rows)).run(out, only)

- `Part`: one JSON file of rows, with `name`, `kind` (`Row` or `Numbers`), `groups` (other names for
  `--only`), `measurements()` and `protocol()`. `measurements()` may raise `InvalidInput` when they
  are not known, such as without a run; then the part is left out, with the reason on the page.
- `Measurement(name, key, seconds, measure)`: one row. `measure` may raise `InvalidInput` when its
  data are missing. A row is measured only when no row with its key is stored.
- `Study(name, parts, page)`: `page` gets `{part: {measurement: row}}`, all that is stored with its
  key, and returns a `Page`; what is missing is added to it. `run` measures what is missing, stores
  each row at once, tells the time left, and rewrites the page after each part and when interrupted.
- `lit_lul.report.rows`: `Row`, `Numbers`, `RowFile`, `digest`, `rule_key`, `autocast`, `DEVICE`.
- `lit_lul.report.page`: `Page`, `Table`, `Picture`, `Check`, `Difference`, `difference`, `every`,
  `percent`.
- `lit_lul.report.plots`: `lines` and `bars`.
"""

import shlex
import time
from abc import ABC, abstractmethod
from argparse import ArgumentError
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, get_args

import torch
from jsonargparse import ArgumentParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from lit_lul.devices import has_compiler, has_native_bf16
from lit_lul.errors import InvalidInput
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.files.configs import load_config
from lit_lul.files.theta import load_rule
from lit_lul.learners.learner import Learner
from lit_lul.report.page import Page
from lit_lul.report.rows import DEVICE, Precision, R, RowFile

T = TypeVar("T")
AUTO = "auto"
MACHINE = ("precision", "compile", "data_root")
"""Keys of a configuration that `Machine` reads."""
INITIAL_SEED = 0
"""Seed of initial θ."""
QUICK = "_quick"
KEPT = 2
"""Number of datasets that are kept in memory."""


@dataclass(frozen=True)
class Measurement(Generic[R]):
    """One measurement of a part.

    Attributes:
        name: its name, unique in the part.
        key: hash of everything that it depends on, except the dataset's content.
        seconds: about how long it takes on one core, for the time left.
        measure: computes its row; raises `InvalidInput` when its data are missing.
    """

    name: str
    key: str
    seconds: float
    measure: Callable[[], R]


class Part(ABC, Generic[R]):
    """A part of a study, such as a dataset: measurements that one JSON file stores.

    Attributes:
        name: its name, unique in the study.
        kind: class of its rows.
        groups: other names by which `--only` chooses it.
    """

    name: str
    kind: type[R]
    groups: Sequence[str] = ()

    @abstractmethod
    def measurements(self) -> Sequence[Measurement[R]]:
        """Everything that is measured, in order.

        Raises:
            InvalidInput: when that is not known, such as without θ.
        """

    @abstractmethod
    def protocol(self) -> object:
        """How it is measured, in JSON values, for readers of the file."""

    def file(self, out: Path) -> RowFile[R]:
        """The stored rows, in the folder of the page's name.

        Raises:
            InvalidInput: when the file cannot be read.
        """
        return RowFile(self.name, out.with_suffix("") / f"{self.name}.json", self.kind)


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        name: of its command.
        parts: all parts, each with its file.
        page: makes the page of stored rows, by part and measurement.
    """

    name: str
    parts: Sequence[Part[Any]]
    page: Callable[[Mapping[str, Mapping[str, Any]]], Page]

    def run(self, out: Path, only: Collection[str] | None = None) -> None:
        """Measure what is not stored, and write the page.

        Args:
            out: the page, from `page_path`.
            only: measure only these parts, by name or group; the page has all that are stored.

        Raises:
            InvalidInput: for an unknown part, or a file that cannot be read or written.
        """
        chosen = choose(self.parts, only)
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        reasons: dict[str, dict[str, None]] = {}
        todo: dict[str, list[Measurement[Any]]] = {}
        for part in chosen:
            with _left_out(part, reasons, console):
                needed, file = part.measurements(), part.file(out)
                todo[part.name] = [one for one in needed if file.find(one.name, one.key) is None]
        tell = time_left(sum(one.seconds for part in todo.values() for one in part), console)
        for part in chosen:
            try:
                for one in todo.get(part.name, []):
                    file = part.file(out)  # read again: processes may share a part
                    if file.find(one.name, one.key) is None:
                        with _left_out(part, reasons, console):
                            file.keep(one.name, one.measure(), part.protocol())
                    tell(f"{part.name}: {one.name}", one.seconds)
            finally:  # when it is interrupted, too
                if todo.get(part.name):
                    self._write(out, reasons)
        self._write(out, reasons)
        console.print(f"{self.name} in {out}")

    def _write(self, out: Path, reasons: Mapping[str, Mapping[str, None]]) -> None:
        rows: dict[str, dict[str, Any]] = {}
        unmeasured = []
        for part in self.parts:
            try:
                keys = {one.name: one.key for one in part.measurements()}
            except InvalidInput:
                continue
            rows[part.name] = part.file(out).current(keys)
            if len(rows[part.name]) < len(keys) and part.name not in reasons:
                unmeasured.append(part.name)
        missing = [f"{n} is left out: {'; '.join(why)}." for n, why in reasons.items()]
        missing += [f"Not measured yet, or not all of it: {', '.join(unmeasured)}."] * bool(
            unmeasured
        )
        page = self.page(rows)
        replace(page, missing=[*page.missing, *missing]).write(out)


@contextmanager
def _left_out(
    part: Part[Any], reasons: dict[str, dict[str, None]], console: Console
) -> Iterator[None]:
    """A context that notes why something of a part cannot be measured, each reason once."""
    try:
        yield
    except InvalidInput as error:
        known = reasons.setdefault(part.name, {})
        if str(error) not in known:
            known[str(error)] = None
            console.print(f"{part.name}: left out ({error})")


def choose(parts: Sequence[Part[Any]], only: Collection[str] | None) -> list[Part[Any]]:
    """Parts by their names or groups, all if `only` is None.

    Raises:
        InvalidInput: for an unknown name.
    """
    known = dict.fromkeys([*(g for part in parts for g in part.groups), *(p.name for p in parts)])
    if unknown := [name for name in only or [] if name not in known]:
        raise InvalidInput(f"--only {unknown[0]}: expected some of {', '.join(known)}")
    return [p for p in parts if only is None or {p.name, *p.groups} & {*only}]


def time_left(total: float, console: Console) -> Callable[[str, float], None]:
    """A function that prints what has been done, and the time left for a total of work."""
    done, start = 0.0, time.monotonic()

    def tell(what: str, work: float) -> None:
        nonlocal done
        done += work
        left = (time.monotonic() - start) * (total / done - 1) / 60 if done else 0
        console.print(f"{what}, about {left:.0f} minutes left" if left else what)

    return tell


def page_path(out: Path, quick: bool = False) -> Path:
    """The page of a report, with a name of its own for a quick look, which may have it already.

    Raises:
        InvalidInput: for a name that does not end in `.md`.
    """
    if out.suffix != ".md":
        raise InvalidInput(f"--out {out}: expected a name that ends in .md")
    return out.with_stem(f"{out.stem.removesuffix(QUICK)}{QUICK}") if quick else out


def spell(report: str, **options: Any) -> str:
    """The command line of a report; options that are None, False or empty are left out."""
    words = ["python", "-m", "lit_lul", "report", report]
    for name, value in options.items():
        if value is None or value is False or value == []:
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        words += [f"--{name}", *map(str, values)]
    return shlex.join(words)


def read_values(
    config: Path, keys: Collection[str] | None = None, quick: bool = False
) -> dict[str, Any]:
    """The values of a configuration file, merged onto its base.

    Args:
        config: the file, or the name of a configuration that ships.
        keys: top-level keys that are known, besides `quick`; None for any.
        quick: whether the values under `quick` are merged over the others.

    Raises:
        InvalidInput: when the file is missing or not a configuration, or has an unknown key.
    """
    try:
        values: Any = OmegaConf.to_container(load_config(config), resolve=True)
        over = values.pop("quick", None)
        if keys is not None and (unknown := [key for key in values if key not in keys]):
            known = ", ".join(sorted({*keys, "quick"}))
            raise InvalidInput(f"{config}: unknown {unknown[0]}, expected {known}")
        if quick and over:
            values = OmegaConf.to_container(OmegaConf.merge(values, over))
    except OmegaConfBaseException as error:
        raise InvalidInput(f"{config}: {' '.join(str(error).split())}") from error
    return dict(values)


def parse(config: Path, kind: Any, values: Any, name: str = "settings") -> Any:
    """Values as a type: a dataclass, or such as `dict[str, HeldOut]`.

    Args:
        config: the file, for errors.
        kind: the type.
        values: plain values.
        name: what they are, for errors.

    Raises:
        InvalidInput: when a value is invalid.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{name}", type=kind, required=True)
    try:
        return parser.instantiate(parser.parse_object({name: values}))[name]
    except ArgumentError as error:
        raise InvalidInput(f"{config}: {' '.join(str(error).split())}") from error


class Machine(NamedTuple):
    """What a configuration leaves to the machine, and where its data are."""

    precision: Precision
    """Precision of hidden states; `auto` is bf16 where the machine multiplies it natively."""
    compile: bool
    """Whether rules use compiled norms; `auto` if there is a C++ compiler."""
    data_root: str | None
    """Folder of datasets, searched first."""

    @classmethod
    def read(cls, config: Path, values: Mapping[str, Any]) -> "Machine":
        """Read the keys `MACHINE`; without them float32, and not compiled.

        Raises:
            InvalidInput: for another value.
        """
        precision, compiled = values.get("precision", "float32"), values.get("compile", False)
        if precision == AUTO:
            precision = "bf16" if has_native_bf16(DEVICE) else "float32"
        if compiled == AUTO:
            compiled = has_compiler()
        if precision not in get_args(Precision):
            raise InvalidInput(f"{config}: precision {precision}: expected auto, float32 or bf16")
        if not isinstance(compiled, bool):
            raise InvalidInput(f"{config}: compile {compiled}: expected auto, true or false")
        return cls(precision, compiled, values.get("data_root"))


def load_rules(
    names: Sequence[str], taken: Collection[str] = (), compiled: bool = False
) -> dict[str, Learner]:
    """Rules by file name on `DEVICE`, each after the same class and settings with initial θ.

    Args:
        names: shipped rules or files of θ.
        taken: names of the study's other methods.
        compiled: whether they use compiled norms.

    Raises:
        InvalidInput: for a file that is missing or invalid or of a learner from labels, two of the
            same name, or different embedding widths.
    """
    rules = {Path(name).stem: load_rule(name) for name in names}
    every = {
        name: learner
        for stem, rule in rules.items()
        for name, learner in ((initial_name(stem), initial_theta(rule)), (stem, rule))
    }
    if len(rules) < len(names) or every.keys() & {*taken}:
        raise InvalidInput(f"--rules {' '.join(names)}: expected files with names of their own")
    widths = sorted({rule.embedding_units for rule in rules.values()})
    if len(widths) > 1:
        raise InvalidInput(f"--rules: expected one number of embedding units, found {widths}")
    for learner in every.values():
        learner.to(DEVICE).prepare(compile=compiled)
    return every


def initial_name(name: str) -> str:
    """The name of a rule with its initial θ."""
    return f"{name}, initial θ"


def initial_theta(rule: Learner) -> Learner:
    """A learner of the same class and settings with initial θ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(INITIAL_SEED)
        return type(rule)(rule.settings)


class DataCache:
    """Held-out data, of which the last few stay in memory; one that is missing is tried once."""

    def __init__(self, data_root: str | None) -> None:
        self._root = data_root
        self._kept: dict[str, HeldOutData | InvalidInput] = {}

    def load(self, held_out: HeldOut) -> HeldOutData:
        """The data of an entry.

        Raises:
            InvalidInput: when they are missing or invalid.
        """
        key = str(held_out.describe())
        if key not in self._kept:
            try:
                self._kept[key] = held_out.load(self._root)
            except InvalidInput as error:
                self._kept[key] = error
        found = self._kept[key] = self._kept.pop(key)  # the last that was used
        loaded = [k for k, data in self._kept.items() if isinstance(data, HeldOutData)]
        for old in loaded[:-KEPT]:
            del self._kept[old]
        if isinstance(found, InvalidInput):
            raise found
        return found
