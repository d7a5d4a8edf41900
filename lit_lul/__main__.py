"""Entry point of `python -m lit_lul`; prints invalid input as one line."""

import sys

from lit_lul.cli import main
from lit_lul.errors import InvalidInput

if __name__ == "__main__":
    try:
        main()
    except InvalidInput as error:
        sys.exit(f"error: {error}")
