"""Entry point of `lit-lul` and `python -m lit_lul`; prints invalid input as one line."""

import sys
from pathlib import Path

from lit_lul.cli import main
from lit_lul.errors import InvalidInput


def command() -> None:
    """Run the command line; exit with an error for invalid input.

    Modules in the working directory can be imported, as with `python -m`.
    """
    sys.path.insert(0, str(Path.cwd()))
    try:
        main()
    except InvalidInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    command()
