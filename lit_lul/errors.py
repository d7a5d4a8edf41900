"""The exception for invalid user input, and the parser's errors in one line each."""

import re


class InvalidInput(ValueError):
    """Raised for an invalid value, file, dataset or checkpoint.

    The message names it and says what was expected. The command line prints it as one line, without
    a traceback.
    """


NOT_MEANT = re.compile(r" - Expected a path but .*? invalid")
"""What the parser tries as well where a value may be a class: a file of its settings."""


def root_cause(error: BaseException | None) -> InvalidInput | None:
    """The `InvalidInput` among the causes of a parser's error, if any."""
    while error is not None and not isinstance(error, InvalidInput):
        error = error.__cause__ or error.__context__
    return error


def reason_of(error: Exception) -> str:
    """The part of a parser's message that names the problem, in one line."""
    text = NOT_MEANT.sub("", " ".join(str(error).split()))
    key, union, rest = text.partition(" Does not validate against any of the Union subtypes")
    if not union:
        return text
    return f"{key}{rest.partition(' Errors: -')[2].partition(' - Expected a <class')[0]}"
