"""Publishing a rule and its card on the Hugging Face hub."""

from pathlib import Path

from yaml import YAMLError

from lit_lul.errors import InvalidInput
from lit_lul.files.hub import CARD, THETA, client, reason_of
from lit_lul.files.theta import load_learner, rule_path

FRONT_MATTER = ("license", "library_name", "tags", "datasets", "metrics")
"""Keys of a card's YAML front matter; all must be there, and `datasets` may be an empty list."""
SECTIONS = ("Usage", "Numbers", "Limits")
"""Second-level headings of a card."""


def push_rule(
    rule: Path | str, repository: str, card: Path | str | None = None, private: bool = False
) -> str:
    """Publish a rule and its card as one commit, and return the reference that pins it.

    The repository is created if there is none. An earlier rule in it stays reachable under its own
    commit.

    Args:
        rule: the name of a rule that ships, or a file, as for `load_rule`.
        repository: `org/name` on the hub, where you are logged in (`hf auth login`).
        card: the card, a Markdown file as `read_card` describes it; by default the file beside the
            rule with the suffix `.md`, which `fit` writes and rules that ship have.
        private: whether a new repository is private.

    Returns:
        `org/name@commit`, which `load_rule` takes.

    Raises:
        InvalidInput: when the file is no learner, the card lacks something, or the hub refuses.
    """
    hub, failures = client("push_rule")
    theta = rule_path(rule)
    load_learner(theta)
    text = read_card(theta.with_suffix(".md") if card is None else Path(card))
    api = hub.HfApi(library_name="lit_lul")
    files = {THETA: theta.read_bytes(), CARD: text.encode()}
    additions = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.create_commit(repository, additions, commit_message=f"Rule {theta.stem}")
    except failures as error:
        raise InvalidInput(f"{repository}: cannot be published ({reason_of(error)})") from error
    return f"{repository}@{commit.oid}"


def read_card(path: Path) -> str:
    """The text of a card: Markdown with YAML front matter and sections.

    The front matter has `license`, `library_name`, `tags`, `datasets` and `metrics`; the sections
    are Usage, Numbers and Limits.
    """
    hub, _ = client(f"{path}: reading a card")
    try:
        text = path.read_text(encoding="utf-8")
        found = hub.ModelCard(text, ignore_metadata_errors=False).data.to_dict()
    except (OSError, ValueError, YAMLError) as error:
        raise InvalidInput(f"{path}: expected a card in Markdown ({reason_of(error)})") from error
    lines = text.splitlines()
    missing = [key for key in FRONT_MATTER if key not in found]
    missing += [f"## {section}" for section in SECTIONS if f"## {section}" not in lines]
    if missing:
        raise InvalidInput(f"{path}: a card needs {', '.join(missing)}")
    return text
