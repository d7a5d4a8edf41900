"""Rules on the Hugging Face hub: references, and fetching θ.

A rule is a model repository with θ as `theta.safetensors` and its card as `README.md`. Nothing else
is fetched.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from lit_lul.errors import InvalidInput

THETA = "theta.safetensors"
"""The file of θ in a repository."""
CARD = "README.md"
"""The card in a repository."""

REFERENCE = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[^@\s]+))?")


def is_reference(name: str) -> bool:
    """Whether a name has the form `org/name` or `org/name@revision`, and not that of a file."""
    return bool(REFERENCE.fullmatch(name)) and not name.endswith((".safetensors", ".ckpt"))


def client(what: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """The module `huggingface_hub`, and what it raises when a request fails.

    Args:
        what: what needs it, in the error.
    """
    try:
        hub: Any = import_module("huggingface_hub")
        errors: Any = import_module("huggingface_hub.errors")
    except ImportError as error:
        raise InvalidInput(f"{what} needs pip install 'lit-lul[hub]'") from error
    # the base class of its HTTP client's errors, which is not the same client in all versions
    return hub, (errors.HTTPError, OSError, ValueError)


def fetch_rule(reference: str) -> Path:
    """The cached file of θ of a rule on the hub, fetched unless it is there already.

    Without a network, what is in the cache is used.

    Args:
        reference: `org/name`, for the newest θ, or `org/name@revision`, where the revision is a
            commit, a tag or a branch. Only a commit always gives the same θ.

    Raises:
        InvalidInput: when there is no such repository, revision or file, or when the hub cannot be
            reached and the file is not in the cache.
    """
    match = REFERENCE.fullmatch(reference)
    assert match is not None
    repository, revision = match["repository"], match["revision"]
    hub, failures = client(f"{reference}: there is no such file, and the Hugging Face hub")
    api, errors = hub.HfApi(library_name="lit_lul"), hub.errors
    try:
        return Path(api.hf_hub_download(repository, THETA, revision=revision))
    except errors.RevisionNotFoundError as error:
        raise InvalidInput(f"{reference}: {repository} has no revision {revision}") from error
    except errors.RepositoryNotFoundError as error:
        raise InvalidInput(
            f"{reference}: expected a file or a repository of {api.endpoint}, but there is none "
            "(for private ones, log in with hf auth login)"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise InvalidInput(
            f"{reference}: expected a file, or a repository of {api.endpoint}, which cannot be "
            "reached, and it is not in the cache"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InvalidInput(f"{reference}: {repository} is no rule, it has no {THETA}") from error
    except failures as error:
        raise InvalidInput(f"{reference}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """The message of an exception in one line."""
    return " ".join(str(error).split()) or type(error).__name__
