"""Rules on the Hugging Face hub: published, fetched, pinned, and what cannot be fetched."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from conftest import lit_lul, refused
from hub_server import Hub, hub_server
from huggingface_hub import constants
from safetensors.torch import save

from lit_lul import InvalidInput, apply_rule, load_rule, push_rule, save_learner
from lit_lul.files.theta import PRETRAINED, available_rules, rule_path
from lit_lul.learners import UnsupervisedUpdate, UpdateSettings

ROWS = torch.rand(12, 7, generator=torch.Generator().manual_seed(0))
CARD = (PRETRAINED / "small.md").read_text()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub without repositories, and a working directory and a cache that are empty."""
    monkeypatch.chdir(tmp_path)
    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        yield server


def rule_file(seed: int = 0, path: str = "own.safetensors") -> Path:
    """A small rule, with a card beside it."""
    torch.manual_seed(seed)
    sizes = {"hidden_channels": 4, "error_channels": 3, "top_channels": 4, "embedding_units": 6}
    save_learner(UnsupervisedUpdate(UpdateSettings(**sizes)), path)  # type: ignore[arg-type]
    Path(path).with_suffix(".md").write_text(CARD)
    return Path(path)


def features(rule: str | Path) -> torch.Tensor:
    """Embeddings of the rows by networks that the rule has trained."""
    applied = apply_rule(load_rule(rule), ROWS, [5], inner_steps=3, batch_size=4)
    return applied.embeddings


def test_a_round_trip_gives_equal_features(hub: Hub) -> None:
    path = rule_file()
    pinned = push_rule(path, "lab/own")
    (commit,) = hub.repositories["lab/own"]
    assert pinned == f"lab/own@{commit}"
    assert hub.repositories["lab/own"][commit] == {
        "theta.safetensors": path.read_bytes(),
        "README.md": CARD.encode(),
    }
    assert torch.equal(features("lab/own"), features(path))
    assert hub.fetched == ["/lab/own/resolve/main/theta.safetensors"], "and nothing else"


def test_a_pinned_revision_stays_and_needs_no_network_again(hub: Hub) -> None:
    old, new = rule_file(1, "old.safetensors"), rule_file(2, "new.safetensors")
    pinned = push_rule(old, "lab/own", private=True)
    push_rule(new, "lab/own")
    assert hub.private == {"lab/own"}
    assert torch.equal(features("lab/own"), features(new))
    assert torch.equal(features(pinned), features(old))
    before = len(hub.fetched)
    hub.shutdown()
    hub.server_close()
    assert torch.equal(features(pinned), features(old))
    assert torch.equal(features("lab/own"), features(new))
    assert len(hub.fetched) == before
    with pytest.raises(InvalidInput, match=r"lab/own: cannot be published \(.+\)$"):
        push_rule(old, "lab/own")


@pytest.mark.parametrize("name", available_rules())
def test_what_ships_can_be_published_with_its_card(hub: Hub, name: str) -> None:
    pinned = push_rule(name, f"lab/{name}")
    assert rule_path(pinned).read_bytes() == rule_path(name).read_bytes()
    files = hub.repositories[f"lab/{name}"][pinned.partition("@")[2]]
    data = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert (data["license"], data["library_name"]) == ("mit", "lit_lul")
    assert data["metrics"] == ["accuracy"] and "meta-learning" in data["tags"]


def test_the_command_line_takes_a_reference(hub: Hub) -> None:
    hub.commit("lab/own", {"theta.safetensors": rule_file().read_bytes()})
    Path("rows.csv").write_text("\n".join(",".join(map(str, row)) for row in ROWS.tolist()))
    options = ["--data_path=rows.csv", "--hidden_units=[5]", "--batch_size=4", "--inner_steps=1"]
    lit_lul("predict", "lab/own@main", "out", *options)
    assert Path("out/embeddings.npy").is_file()


def test_a_file_or_folder_of_the_same_name_comes_first(hub: Hub) -> None:
    Path("lab/own").mkdir(parents=True)
    path = rule_file(3, "lab/own/theta.safetensors")
    assert rule_path("lab/own") == path
    assert torch.equal(features("lab/own"), features(path))
    assert hub.fetched == []


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("lab/none", r"lab/none: expected a file or a repository of http.*there is none"),
        ("lab/own@v9", r"lab/own@v9: lab/own has no revision v9"),
        ("lab/empty", r"lab/empty: lab/empty is no rule, it has no theta\.safetensors"),
        ("lab/model", r"theta\.safetensors: expected a safetensors file of format"),
        ("lab/broken", r"theta\.safetensors: expected a safetensors file of format"),
        ("lab/-own--x", r"lab/-own--x: expected"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(hub: Hub, reference: str, message: str) -> None:
    hub.commit("lab/own", {"theta.safetensors": rule_file().read_bytes()})
    hub.commit("lab/empty", {"pytorch_model.bin": b"pickle"})
    hub.commit("lab/model", {"theta.safetensors": save({"w": torch.zeros(2)})})
    hub.commit("lab/broken", {"theta.safetensors": b"no safetensors"})
    with refused(message):
        load_rule(reference)


@pytest.mark.usefixtures("hub")
def test_a_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refused(r"lab/own: .*cannot be reached"):
        load_rule("lab/own")


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InvalidInput, match=r"^lab/own: there is no such file, and .*\[hub\]'$"):
        load_rule("lab/own")
    with pytest.raises(InvalidInput, match=r"^push_rule needs pip install 'lit-lul\[hub\]'$"):
        push_rule("small", "lab/own")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, r"own\.md: expected a card"),
        (CARD.partition("---\n\n")[2], r"needs license, library_name, tags, datasets, metrics$"),
        (CARD.replace("metrics: [accuracy]\n", "").replace("## Limits", ""), "metrics, ## Limits$"),
        (CARD.replace("license: mit", "license: [mit"), "expected a card"),
        (CARD.replace("license: mit", "- mit"), "expected a card"),
    ],
)
def test_a_card_that_lacks_something_is_not_published(
    hub: Hub, card: str | None, message: str
) -> None:
    path = rule_file()
    path.with_suffix(".md").unlink()
    if card is not None:
        path.with_suffix(".md").write_text(card)
    with refused(message):
        push_rule(path, "lab/own")
    assert hub.repositories == {}


def test_what_is_no_rule_or_not_allowed_is_not_published(hub: Hub) -> None:
    Path("model.safetensors").write_bytes(save({"w": torch.zeros(2)}))
    with pytest.raises(InvalidInput, match=r"model\.safetensors: expected a safetensors file"):
        push_rule("model.safetensors", "lab/own", PRETRAINED / "small.md")
    with refused(r"closed/own: cannot be published \(.*403"):
        push_rule("small", "closed/own")
    assert hub.repositories == {}
