"""The folders of runs: version_0, version_1, ... below a root."""

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from lit_lul.errors import InvalidInput
from lit_lul.files.atomic import not_written

LAST = Path("checkpoints", "last.ckpt")
"""The newest checkpoint within a run's folder."""


def versions(root: Path) -> list[int]:
    """Numbers of the runs below a root, in order."""
    names = (folder.name.removeprefix("version_") for folder in root.glob("version_*"))
    return sorted(int(name) for name in names if name.isdigit())


def last_run(root: Path) -> int:
    """The number of the newest run that has saved a checkpoint.

    Raises:
        InvalidInput: when there is none.
    """
    saved = [v for v in versions(root) if (root / f"version_{v}" / LAST).is_file()]
    if not saved:
        raise InvalidInput(f"--ckpt_path last: no checkpoint of a run under {root}")
    return saved[-1]


def claim_version(root: Path) -> int:
    """Create the folder of a new run and return its number; safe when runs start concurrently.

    Only rank 0 creates it; other ranks log to its folder.

    Raises:
        InvalidInput: when a folder cannot be created.
    """
    version = max(versions(root), default=-1) + 1
    if getattr(rank_zero_only, "rank", None):
        return version
    with not_written(root):
        root.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                (root / f"version_{version}").mkdir()
            except FileExistsError:
                version += 1
            else:
                return version
