"""Lists of classes kept out of meta-training, for evaluation on unseen classes."""

import json
from pathlib import Path

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

    Args:
        name_or_path: one of `shipped_lists()`, or the path of a file, relative to `folder` or else
            to the working directory.
        folder: the folder of the dataset; None where it has none.

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
    except OSError as error:
        raise _invalid(name_or_path, str(error)) from error
    except ValueError as error:
        raise _invalid(name_or_path, f"{path}: {error}") from error
    names = content.get("heldout") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _invalid(name_or_path, f"{path}: found {content!r:.60}")
    return names


def _invalid(name_or_path: str, reason: str) -> InvalidInput:
    return InvalidInput(
        f"leave_out {name_or_path!r}: must be a list shipped with lit_lul"
        f' ({", ".join(shipped_lists())}) or a JSON file {{"heldout": [class names]}}, in the'
        f" dataset's folder or a path ({reason})"
    )
