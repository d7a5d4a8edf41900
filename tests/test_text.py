"""Texts as bags of words: the vocabulary, the encoding, the cache, and errors."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from conftest import refused
from datasets import Dataset

from lit_lul.data import text
from lit_lul.data.text import TextSource, WordBags, load_word_bags
from lit_lul.errors import InvalidInput

NAME = "someone/reviews"
TRAIN = ["Good film, GOOD!<br /><br />Don't miss", "bad, 'bad' film", "apt apt zoo zoo", "?!"]
TEST = ["a good unheard-of film", "bad bad", ""]
WORDS = ("apt", "bad", "film", "good", "zoo", "don't")
"""The words of the training texts: five that occur twice each, and the first that occurs once."""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one dataset, with separate caches and no network."""
    monkeypatch.delenv("LIT_LUL_DATA", raising=False)
    monkeypatch.setenv("LIT_LUL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    write(tmp_path / NAME, "train", {"text": TRAIN, "label": [1, 0, 1, 0]})
    write(tmp_path / NAME, "test", {"text": TEST, "label": [1, 0, 2]})
    return tmp_path


def write(folder: Path, split: str, columns: Mapping[str, Sequence[object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(dict(columns)).to_parquet(folder / f"{split}.parquet")


def load(root: Path, split: str = "train", words: int = 6) -> WordBags:
    return load_word_bags(TextSource(NAME, words=words), split, str(root))


def present(bags: WordBags) -> list[set[str]]:
    return [{bags.vocabulary[column] for column in row.nonzero()} for row in bags.x]


def test_most_frequent_words_come_first_and_ties_by_alphabet(root: Path) -> None:
    assert load(root).vocabulary == ("<unknown>", "<start>", "<end>", *WORDS)
    assert load(root, words=2).vocabulary[3:] == WORDS[:2]


def test_presence(root: Path) -> None:
    bags = load(root)
    assert bags.x.shape == (4, 9)
    assert bags.x.dtype == torch.uint8
    assert bags.x.unique().tolist() == [0, 1]
    assert bags.labels.dtype == torch.int64
    assert bags.labels.tolist() == [1, 0, 1, 0]
    assert present(bags) == [
        {"<start>", "good", "film", "don't", "<unknown>", "<end>"},
        {"<start>", "bad", "film", "<end>"},
        {"<start>", "apt", "zoo", "<end>"},
        set(),
    ]


def test_words_of_another_split_are_unknown_where_training_lacks_them(root: Path) -> None:
    bags = load(root, "test")
    assert present(bags) == [
        {"<start>", "good", "film", "<unknown>", "<end>"},
        {"<start>", "bad", "<end>"},
        set(),
    ]
    assert bags.labels.tolist() == [1, 0, 2]


def test_vocabulary_is_that_of_the_training_split(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(root, "test")
    monkeypatch.setenv("LIT_LUL_CACHE", str(root / "another cache"))
    write(root / NAME, "test", {"text": ["unheard " * 9], "label": [0]})
    second = load(root, "test")
    assert first.vocabulary == second.vocabulary == load(root).vocabulary
    assert present(second) == [{"<start>", "<unknown>", "<end>"}]


@pytest.mark.parametrize("found_by", ["environment", "working directory"])
def test_where_datasets_are_looked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch, found_by: str
) -> None:
    if found_by == "environment":
        monkeypatch.setenv("LIT_LUL_DATA", str(root))
    else:
        monkeypatch.chdir(root)
    assert load_word_bags(TextSource(NAME, words=6), "train").vocabulary[3:] == WORDS


def test_second_load_reads_the_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("built again")

    first = load(root)
    monkeypatch.setattr(text, "_build", fail)
    second = load(root)
    assert second.vocabulary == first.vocabulary
    assert torch.equal(second.x, first.x)
    assert torch.equal(second.labels, first.labels)
    for split, words in [("test", 6), ("train", 5)]:
        with pytest.raises(AssertionError, match="built again"):
            load(root, split, words)


@pytest.mark.parametrize(
    ("settings", "split", "message"),
    [
        ({"words": 8}, "train", "words 8: must be at most 7, "),
        ({}, "valid", f"{NAME}.*split 'valid'.*'train', 'test'"),
        ({"text_column": "review"}, "train", f"{NAME}.*no column 'review'.*'text', 'label'"),
        ({"label_column": "review"}, "train", f"{NAME}.*no column 'review'.*'text', 'label'"),
        ({"text_column": "label"}, "train", "row 0: column 'label' must hold str, not 1"),
        ({"label_column": "text"}, "train", "row 0: column 'text' must hold int, not .Good film"),
        (
            {"dataset": "someone/else"},
            "train",
            "'someone/else'.*connect to the network.*/someone/else .*DATA",
        ),
    ],
)
def test_refusals_are_one_line(
    root: Path, settings: dict[str, Any], split: str, message: str
) -> None:
    given: dict[str, Any] = {"dataset": NAME, "words": 6}
    asked = TextSource(**given | settings)
    with refused(message):
        load_word_bags(asked, split, str(root))


def test_no_training_split(root: Path) -> None:
    (root / NAME / "train.parquet").unlink()
    with pytest.raises(InvalidInput, match="split 'train'"):
        load(root, "test")


def test_missing_text(root: Path) -> None:
    write(root / NAME, "train", {"text": ["a b c", None], "label": [0, 1]})
    with pytest.raises(InvalidInput, match="row 1: column 'text' must hold str, not None"):
        load(root)


def test_unreadable_parquet(root: Path) -> None:
    path = root / NAME / "test.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidInput, match=rf"{NAME}.*{path.parent}.*not a parquet file"):
        load(root)


def test_library_is_needed_only_to_build(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(root)
    monkeypatch.setitem(sys.modules, "datasets", None)
    load(root)
    with pytest.raises(InvalidInput, match=r"pip install 'lit-lul\[data\]'"):
        load(root, words=5)
