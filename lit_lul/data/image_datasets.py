"""Labelled image datasets, from local folders or the Hugging Face hub, resized and cached."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track
from torch import Tensor

from lit_lul.constraints import Checked, PositiveInt
from lit_lul.data.cache import cached_tensors, names_of_tensor, names_to_tensor
from lit_lul.data.datasets_access import find_folder, fingerprint, load_columns, reason_of
from lit_lul.data.image_set import ImageSet
from lit_lul.errors import InvalidInput

_SHIPPED = Path(__file__).parent / "heldout_classes"


def shipped_lists() -> list[str]:
    """Names of the class lists that are installed with the package, sorted.

    tiny-imagenet: 40 of Tiny ImageNet's 200 classes, by WordNet id, such as n01774750. They are
    this project's choice: Metz et al. 2018 name no classes.
    """
    return sorted(path.stem for path in _SHIPPED.glob("*.json"))


def read_class_list(name_or_path: str, folder: Path | None) -> list[str]:
    """The class names of a shipped list, or of a JSON file of the form {"heldout": [names]}.

    A path is relative to `folder`, that of the dataset if it has one, or else to the working
    directory.

    Raises:
        InvalidInput: there is neither such a list nor such a file, or the file's form is invalid.
    """
    if name_or_path in shipped_lists():
        path = _SHIPPED / f"{name_or_path}.json"
    else:
        inside = Path(folder or "", name_or_path)
        path = inside if inside.is_file() else Path(name_or_path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        reason = f"found {content!r:.60}"
    except (OSError, ValueError) as error:
        content, reason = None, str(error)
    names = content.get("heldout") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(
            f"leave_out {name_or_path!r}: must be a list shipped with lit_lul"
            f' ({", ".join(shipped_lists())}) or a JSON file {{"heldout": [class names]}}, in the'
            f" dataset's folder or a path ({path}: {reason})"
        )
    return names


_DECODER = 1
_CHOICES = {"leave_out", "held_out"}


@dataclass(frozen=True)
class ImageSource(Checked):
    """One split of a labelled image dataset, with the classes to load and the image size."""

    dataset: str
    """Dataset: a Hugging Face hub id, such as uoft-cs/cifar10, or a local folder."""
    split: str = "train"
    """Split of the dataset."""
    image_column: str = "image"
    """The column of images."""
    label_column: str = "label"
    """The column of classes."""
    side: PositiveInt = 16
    """Height and width that images are resized to, in pixels."""
    grey: bool = False
    """Whether images are converted to one grey channel instead of three of colour."""
    leave_out: str | None = None
    """Classes not to load: a shipped list (tiny-imagenet), or a JSON file {"heldout": [names]}."""
    held_out: bool = False
    """Whether to load the classes of leave_out instead of all others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.held_out and self.leave_out is None:
            raise InvalidInput("held_out true: leave_out must name the classes to load")

    def __str__(self) -> str:
        return f"dataset {self.dataset!r}, split {self.split!r}"


def load_images(source: ImageSource, data_root: str | None = None) -> ImageSet:
    """Load the images of `source`, decoded by the first call and cached for the others.

    The dataset is the folder `<root>/<source.dataset>`, where root is `data_root` or else
    $LIT_LUL_DATA, or else the folder `source.dataset`, or else it is on the Hugging Face hub. A
    folder has a form that `datasets.load_dataset` reads: parquet files, or split/class/file.

    Images lose their alpha channel, become RGB or grey, are cropped to their centre square and
    resized by area averaging. Classes are in the dataset's order, or sorted where the column holds
    plain integers or strings; classes without images in the split are dropped.

    Every class in a file of `source.leave_out` must be a class of the dataset. At least one of a
    shipped list must be, so that a subset of the dataset can be used.

    One cached file serves all choices of classes. Its key has the paths and sizes of a folder's
    files, so a change on the hub, or one that keeps all sizes, needs an empty cache.

    Raises:
        InvalidInput: the dataset or a class cannot be found or read, or no class is left.
    """
    folder = find_folder(source.dataset, data_root)
    left_out = read_class_list(source.leave_out, folder) if source.leave_out else []
    key = {name: value for name, value in vars(source).items() if name not in _CHOICES}
    key |= {"files": folder and fingerprint(folder), "decoder": _DECODER}
    file = f"images-{Path(source.dataset).name}"
    tensors = cached_tensors(file, key, lambda: _build(source, data_root))
    names = names_of_tensor(tensors["class_names"])
    start = tensors["class_start"]
    kept = _kept(source, names, start.diff().tolist(), left_out)
    return ImageSet(
        torch.cat([tensors["images"][start[c] : start[c + 1]] for c in kept]),
        torch.cat([torch.zeros(1, dtype=torch.int64), start.diff()[kept].cumsum(0)]),
        tuple(names[c] for c in kept),
    )


def _kept(source: ImageSource, names: list[str], sizes: list[int], out: list[str]) -> list[int]:
    lacking = [name for name in out if name not in names]
    if lacking and (lacking == out or source.leave_out not in shipped_lists()):
        raise InvalidInput(
            f"leave_out {source.leave_out!r}: {source} has no class {lacking[0]!r}; it has classes"
            f" such as {names[:9]}"
        )
    there = [(i, name) for i, name in enumerate(names) if sizes[i]]
    kept = [i for i, name in there if (name in out) == source.held_out]
    if not kept:
        raise InvalidInput(f"{source}: no class with images is left to load")
    return kept


def _build(source: ImageSource, data_root: str | None) -> dict[str, Tensor]:
    rows = _open(source, data_root)
    names, labels = _labels(source, rows)
    channels, side = (1 if source.grey else 3), source.side
    images = np.empty((len(rows), channels, side, side), np.uint8)
    place = np.argsort(np.argsort(labels, stable=True))
    for row in track(range(len(rows)), "Decoding", transient=True, console=Console(stderr=True)):
        try:
            image = _resize(rows[row][source.image_column], side, source.grey)
        except Exception as error:
            raise InvalidInput(
                f"{source}, row {row}: invalid image ({reason_of(error)})"
            ) from error
        images[place[row]] = np.asarray(image).reshape(side, side, channels).transpose(2, 0, 1)
    return {
        "images": torch.from_numpy(images),
        "class_start": torch.from_numpy(np.cumsum([0, *np.bincount(labels, minlength=len(names))])),
        "class_names": names_to_tensor(names),
    }


def _open(source: ImageSource, data_root: str | None) -> Any:
    columns = {source.image_column, source.label_column}
    rows = load_columns(source.dataset, source.split, columns, data_root)
    if type(found := rows.features[source.image_column]).__name__ != "Image":
        raise InvalidInput(
            f"{source}: column {source.image_column!r} must hold images, but holds {found}"
        )
    return rows


def _labels(source: ImageSource, rows: Any) -> tuple[list[str], NDArray[np.int64]]:
    labels = list(rows[source.label_column])
    names = getattr(rows.features[source.label_column], "names", None)
    for row, label in enumerate(labels):
        if not isinstance(label, int | str) or (names and label not in range(len(names))):
            raise InvalidInput(f"{source}, row {row}: the label must be a class, not {label!r:.40}")
    if names is None:
        values, codes = np.unique(labels, return_inverse=True)
        return [str(value) for value in values.tolist()], codes
    return names, np.array(labels, np.int64)


def _resize(image: Image.Image, side: int, grey: bool) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its mode, {image.mode}, does not define which value is white")
    return ImageOps.fit(image.convert("L" if grey else "RGB"), (side, side), Image.Resampling.BOX)
