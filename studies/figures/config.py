"""The configuration of the figures."""

from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser
from omegaconf import OmegaConf

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.held_out import HeldOut
from lit_lul.report.held_out_entries import make_entries, read_values
from lit_lul.report.machine import chosen_compilation, chosen_precision
from lit_lul.report.stored_rows import Precision
from studies.figures import (
    dimensions,
    few_labels,
    filters,
    meta_training,
    mismatch,
    orders,
    prototypes,
    transfer,
)
from studies.figures.context import Context
from studies.figures.panel import Panel


class Section(NamedTuple):
    """A section of the configuration, and the panels that it is for."""

    settings: type[Any]
    """A dataclass."""
    panels: Callable[[Any, Context], Sequence[Panel[Any]]]
    """Makes the panels."""


SECTIONS: dict[str, Section] = {
    "mismatch": Section(mismatch.MismatchSettings, mismatch.panels),
    "prototypes": Section(prototypes.PrototypesSettings, prototypes.panels),
    "orders": Section(orders.OrdersSettings, orders.panels),
    "meta_training": Section(meta_training.MetaTrainingSettings, meta_training.panels),
    "few_labels": Section(few_labels.FewLabelsSettings, few_labels.panels),
    "transfer": Section(transfer.TransferSettings, transfer.panels),
    "filters": Section(filters.FiltersSettings, filters.panels),
    "dimensions": Section(dimensions.DimensionsSettings, dimensions.panels),
}
KEYS = {"precision", "compile", "data_root", "run", "thetas", "shared", "datasets", "quick"}


@dataclass(frozen=True)
class FiguresConfig:
    """The configuration.

    Attributes:
        precision: precision of the hidden states.
        compile: whether rules use compiled norms.
        data_root: folder of datasets, searched first.
        run: folder of a run with kept θ.
        thetas: how many of them are measured.
        datasets: held-out datasets by name.
        sections: settings of panels, by name of the section.
    """

    precision: Precision
    compile: bool
    data_root: str | None
    run: Path | None
    thetas: int
    datasets: Mapping[str, HeldOut]
    sections: Mapping[str, Any]


def load_figures(config: Path, quick: bool) -> FiguresConfig:
    """Read the configuration.

    Args:
        config: the file.
        quick: whether the values under `quick` replace others.

    Raises:
        InvalidInput: when the file is missing or a value is invalid.
    """
    values = read_values(config)
    if unknown := [*(values.keys() - KEYS - SECTIONS.keys())]:
        known = ", ".join(sorted(KEYS | SECTIONS.keys()))
        raise InvalidInput(f"{config}: unknown {unknown[0]}, expected {known}")
    if quick:
        merged: Any = OmegaConf.merge(values, values.get("quick") or {})
        values = dict(OmegaConf.to_container(merged))  # type: ignore[arg-type] # a mapping
    precision = chosen_precision(config, values.get("precision", "float32"))
    compiled = chosen_compilation(config, values.get("compile", False))
    shared = values.get("shared") or {}
    own = values.get("datasets") or {}
    datasets, _ = make_entries(config, {name: {**shared, **(e or {})} for name, e in own.items()})
    parser = ArgumentParser(exit_on_error=False)
    for name, section in SECTIONS.items():
        parser.add_argument(f"--{name}", type=section.settings, default=section.settings())
    try:
        given = {name: values[name] for name in SECTIONS if name in values}
        made = parser.instantiate(parser.parse_object(given))
    except ArgumentError as error:
        raise InvalidInput(f"{config}: {' '.join(str(error).split())}") from error
    run = values.get("run")
    return FiguresConfig(
        precision,
        compiled,
        values.get("data_root"),
        None if run is None else Path(run),
        int(values.get("thetas", 6)),
        datasets,
        {name: made[name] for name in SECTIONS},
    )


def make_panels(config: FiguresConfig, context: Context) -> list[Panel[Any]]:
    """All panels, in the order of the figures."""
    made = [
        panel
        for name, section in SECTIONS.items()
        for panel in section.panels(config.sections[name], context)
    ]
    return sorted(made, key=lambda panel: panel.figure[0])
