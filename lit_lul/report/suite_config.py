"""The configuration of the suite: entries of two halves, with shared settings."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.report.held_out_entries import make_entries, read_values
from lit_lul.report.machine import chosen_compilation, chosen_precision
from lit_lul.report.stored_rows import Precision

Half = Literal["development", "report"]
QUICK: dict[str, Any] = {
    "draws": 2,
    "inner_steps": 2,
    "points": 1,
    "batch_size": 32,
    "tests_per_class": 10,
}
QUICK_PARTS = 2
KEYS = {"precision", "compile", "data_root", "shared", *get_args(Half)}


@dataclass(frozen=True)
class Suite:
    """One half of the suite.

    Attributes:
        entries: parts of every entry by name; the accuracy of an entry is over all its parts.
        precision: precision of the hidden states.
        compile: whether rules use compiled norms.
        data_root: folder of datasets, searched first.
    """

    entries: dict[str, list[HeldOut]]
    precision: Precision
    compile: bool
    data_root: str | None

    @property
    def ridge(self) -> FewShotRidge:
        """The ridge probe, with default settings."""
        return FewShotRidge()


def load_suite(config: Path, half: Half) -> Suite:
    """Read one half of the suite from a configuration file.

    The settings of an entry are those of `shared` and its own. An entry whose `dataset` is a list
    has a part for each.

    Raises:
        InvalidInput: when the file is missing or a value is invalid.
    """
    values = read_values(config)
    if unknown := [*(values.keys() - KEYS)]:
        raise InvalidInput(f"{config}: unknown {unknown[0]}, expected {', '.join(sorted(KEYS))}")
    precision = chosen_precision(config, values.get("precision", "float32"))
    compiled = chosen_compilation(config, values.get("compile", False))
    settings: dict[str, list[dict[str, Any]]] = {}
    for name, own in (values.get(half) or {}).items():
        both = {**(values.get("shared") or {}), **(own or {})}
        datasets = both.pop("dataset", "digits")
        parts = datasets if isinstance(datasets, list) else [datasets]
        settings[name] = [{**both, "dataset": part} for part in parts]
    if not settings:
        raise InvalidInput(f"{config}: expected datasets under {half}")
    flat = {f"{name} {i}": part for name, parts in settings.items() for i, part in enumerate(parts)}
    made, _ = make_entries(config, flat)
    entries = {
        name: [made[f"{name} {i}"] for i in range(len(parts))] for name, parts in settings.items()
    }
    return Suite(entries, precision, compiled, values.get("data_root"))


def quick_look(suite: Suite) -> Suite:
    """The same with few draws and steps, for a look at whether everything works."""
    entries = {
        name: [replace(part, **QUICK) for part in parts[:QUICK_PARTS]]
        for name, parts in suite.entries.items()
    }
    return replace(suite, entries=entries, compile=False, precision="float32")
