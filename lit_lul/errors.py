"""The one exception that the command line turns into a single line."""


class InvalidInput(ValueError):
    """A value, file, dataset or checkpoint that a person must change.

    The message names it and what was expected.
    """
