"""Rows of a report, each with the key of all that it depends on, and the file that stores them."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from lit_lul.errors import InvalidInput
from lit_lul.evaluation.curve import Curve
from lit_lul.files.atomic import replace_file
from lit_lul.files.theta import described
from lit_lul.learners.learner import Learner

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Precision = Literal["float32", "bf16"]


@dataclass(frozen=True)
class Row:
    """Few-shot accuracy of one baseline or rule on one dataset.

    Attributes:
        key: hash of everything that the numbers depend on, except the dataset's content.
        steps: inner steps; only 0 for a baseline.
        accuracy: accuracy by probe, for each step and draw; 0 to 1.
    """

    key: str
    steps: list[int]
    accuracy: dict[str, list[list[float]]]

    def curve(self, probe: str) -> Curve:
        """Means and standard errors over the draws."""
        return Curve.of(tuple(self.steps), self.draws(probe))

    def draws(self, probe: str) -> Tensor:
        """(steps, draws), float64."""
        return torch.tensor(self.accuracy[probe], dtype=torch.float64)

    def at_start(self) -> "Row":
        """The row with only its first step: a random network."""
        return Row(self.key, self.steps[:1], {p: a[:1] for p, a in self.accuracy.items()})


@dataclass(frozen=True)
class Numbers:
    """Other numbers of one measurement.

    Attributes:
        key: hash of everything that the numbers depend on, except the dataset's content.
        values: JSON values by name.
    """

    key: str
    values: dict[str, Any]


R = TypeVar("R", Row, Numbers)


class RowFile(Generic[R]):
    """The rows of one dataset in a JSON file, rewritten after every measurement.

    A row is found by its key: under its name, or else under the name that it was stored with.

    Args:
        name: name of the dataset.
        path: the file.
        kind: class of the rows.

    Raises:
        InvalidInput: when the file exists and is not such a file.
    """

    def __init__(self, name: str, path: Path, kind: type[R]) -> None:
        self.name, self.path = name, path
        self._rows: dict[str, R] = {}
        if not path.exists():
            return
        try:
            rows = json.loads(path.read_text())["rows"]
            self._rows = {name: kind(**row) for name, row in rows.items()}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidInput(f"{path}: expected rows of {name}; remove it") from error

    def find(self, name: str, key: str) -> R | None:
        """The row with a key, None if there is none."""
        own = self._rows.get(name)
        if own is not None and own.key == key:
            return own
        return next((row for row in self._rows.values() if row.key == key), None)

    def current(self, keys: Mapping[str, str]) -> dict[str, R]:
        """The rows by name whose keys are stored."""
        found = {name: self.find(name, key) for name, key in keys.items()}
        return {name: row for name, row in found.items() if row is not None}

    def keep(self, name: str, row: R, protocol: object) -> None:
        """Add a row, and write the file, with a protocol in JSON values for its readers."""
        self._rows[name] = row
        rows = {name: vars(row) for name, row in self._rows.items()}
        content = {"dataset": self.name, "protocol": protocol, "rows": rows}
        with replace_file(self.path) as temporary:
            temporary.write_text(json.dumps(content))


def digest(content: object) -> str:
    """A hash of JSON values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def rule_key(protocol: object, precision: Precision, rule: Learner) -> str:
    """The key of a rule's row: protocol in JSON values, precision, class, settings and θ."""
    theta = hashlib.sha256()
    for name, tensor in sorted(rule.state_dict().items()):
        theta.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        theta.update(tensor.cpu().numpy().tobytes())
    return digest([protocol, precision, described(rule), theta.hexdigest()])


def autocast(precision: Precision) -> AbstractContextManager[Any]:
    """A context for rollouts with hidden states in `precision` and all else in float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(DEVICE.type, torch.bfloat16)
