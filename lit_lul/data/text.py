"""Texts as bags of words, data from a domain other than images (Metz et al. 2018, app. H.3.2).

The appendix "tokenized and selected the top 1K words with an additional set of tokens for unknown,
sentence start, and sentence end", and encoded a text as "1 if the word is present, otherwise 0". It
does not say how it tokenized. Here a text is lower-cased and its line breaks "<br />" become
spaces; a word is a run of letters and digits, which apostrophes may join ("don't" is one word).
"""

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_lul.constraints import Checked, PositiveInt
from lit_lul.data.cache import cached_tensors, names_of_tensor, names_to_tensor
from lit_lul.data.datasets_access import find_folder, fingerprint, load_columns
from lit_lul.errors import InvalidInput

_ENCODING = 1
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SPECIAL = ("<unknown>", "<start>", "<end>")
_UNKNOWN, _START, _END = range(3)


@dataclass(frozen=True)
class TextSource(Checked):
    """A labelled text dataset, and the size of its vocabulary."""

    dataset: str
    """Dataset: a Hugging Face hub id, such as stanfordnlp/imdb, or a local folder."""
    text_column: str = "text"
    """The column of texts."""
    label_column: str = "label"
    """The column of integer labels."""
    words: PositiveInt = 1000
    """Number of words in the vocabulary: the most frequent words of the training split."""


@dataclass(frozen=True, eq=False)
class WordBags:
    """Labelled texts, each as the set of words in it."""

    x: Tensor
    """uint8, (n, words + 3); 1 where the text contains the column's word or token, else 0."""
    labels: Tensor
    """int64, (n,), the dataset's own."""
    vocabulary: tuple[str, ...]
    """"<unknown>", "<start>", "<end>", then the words, most frequent first."""


def load_word_bags(source: TextSource, split: str, data_root: str | None = None) -> WordBags:
    """Load a split's texts as bags of words, built by the first call and cached for the others.

    The vocabulary is that of the split "train", whatever `split` is: its `source.words` most
    frequent words, ties in the order of their code points. A text contains "<unknown>" where one of
    its words is not in the vocabulary, and "<start>" and "<end>" where it has any word.

    Args:
        source: the dataset, its columns and the size of the vocabulary.
        split: one of the dataset's splits.
        data_root: a folder of datasets under their hub names.

    Raises:
        InvalidInput: the split or the split "train" cannot be read, a value is not of its column's
            type, or the training split has too few words.
    """
    folder = find_folder(source.dataset, data_root)
    files = folder and fingerprint(folder)
    key = {"split": split, **asdict(source), "files": files, "encoding": _ENCODING}
    tensors = cached_tensors("text", key, lambda: _build(source, split, data_root))
    vocabulary = tuple(names_of_tensor(tensors["vocabulary"]))
    return WordBags(tensors["x"], tensors["labels"], vocabulary)


def _build(source: TextSource, split: str, data_root: str | None) -> dict[str, Tensor]:
    read = {source.text_column, source.label_column}
    rows = load_columns(source.dataset, split, read, data_root)
    texts = _column(rows, source, source.text_column, str)
    labels = _column(rows, source, source.label_column, int)
    vocabulary = [*_SPECIAL, *_most_frequent(source, data_root)]
    columns = {word: column for column, word in enumerate(vocabulary)}
    x = np.zeros((len(texts), len(vocabulary)), np.uint8)
    for row, text in zip(x, texts, strict=True):
        if found := set(_words(text)):
            row[[_START, _END, *{columns.get(word, _UNKNOWN) for word in found}]] = 1
    return {
        "x": torch.from_numpy(x),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "vocabulary": names_to_tensor(vocabulary),
    }


def _most_frequent(source: TextSource, data_root: str | None) -> list[str]:
    training = load_columns(source.dataset, "train", {source.text_column}, data_root)
    counts: Counter[str] = Counter()
    for text in _column(training, source, source.text_column, str):
        counts.update(_words(text))
    if len(counts) < source.words:
        raise InvalidInput(
            f"words {source.words}: must be at most {len(counts)}, the number of distinct words in"
            f" dataset {source.dataset!r}"
        )
    return sorted(counts, key=lambda word: (-counts[word], word))[: source.words]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("<br />", " "))


def _column(rows: Any, source: TextSource, name: str, kind: type) -> list[Any]:
    values = list(rows[name])
    for row, value in enumerate(values):
        if not isinstance(value, kind):
            raise InvalidInput(
                f"dataset {source.dataset!r}, row {row}: column {name!r} must hold"
                f" {kind.__name__}, not {value!r:.60}"
            )
    return values


TOPICS = 30
WORDS_PER_TEXT = (20, 200)
"""Bounds on the length of a text, log-uniform."""
_FAVOURITES = 3  # topics that are more frequent in a class
_WORD_CONCENTRATION = 0.1  # of the words of a topic
_TOPIC_CONCENTRATION = 0.1  # of the topics of a text
_CLASS_STRENGTH = 20.0  # how much more frequent the favourites are
_CHUNK = 500  # texts that are made at once


class TopicModel:
    """A random generator of texts of some classes as bags of words.

    Args:
        classes: number of classes.
        words: number of words in the vocabulary; frequencies fall by Zipf's law.
        seed: determines the topics and classes.
    """

    def __init__(self, classes: int, words: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        frequency = 1 / np.arange(1, words + 1)
        frequency /= frequency.sum()
        concentration = _WORD_CONCENTRATION * words * frequency
        self._words = rng.dirichlet(concentration, TOPICS)
        self._topics = np.full((classes, TOPICS), _TOPIC_CONCENTRATION)
        for of_class in self._topics:
            of_class[rng.choice(TOPICS, _FAVOURITES, replace=False)] *= _CLASS_STRENGTH

    def sample(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Texts of given classes (n,): uint8, (n, words)."""
        parts = np.split(labels, range(_CHUNK, len(labels), _CHUNK))
        return np.concatenate([self._sample(part, rng) for part in parts])

    def _sample(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shares = rng.standard_gamma(self._topics[labels]) + 1e-12  # a Dirichlet draw, unnormalised
        mixed = shares / shares.sum(1, keepdims=True) @ self._words
        low, high = WORDS_PER_TEXT
        lengths = np.exp(rng.uniform(np.log(low), np.log(high), len(labels))).astype(int)
        return (rng.multinomial(lengths, mixed / mixed.sum(1, keepdims=True)) > 0).astype(np.uint8)
