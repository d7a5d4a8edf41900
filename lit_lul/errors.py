"""The exception for invalid user input."""


class InvalidInput(ValueError):
    """Raised for an invalid value, file, dataset or checkpoint.

    The message names it and says what was expected. The command line prints it as one line, without
    a traceback.
    """
