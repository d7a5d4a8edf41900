"""Text as the words that it has, the data of another domain (Metz et al. 2018, appendix H.3.2).

The appendix "tokenized and selected the top 1K words with an additional set of tokens for unknown,
sentence start, and sentence end", and encoded a text as "1 if the word is present, otherwise 0". It
does not say how it tokenized. Here a text is lower-cased and its line breaks "<br />" become
spaces; a word is a run of letters and digits, which apostrophes may join ("don't" is one word).
"""

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lit_lul.data.cache import cached_tensors
from lit_lul.data.datasets_access import find_folder, fingerprint, load_split
from lit_lul.errors import InvalidInput

_ENCODING = 1
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SPECIAL = ("<unknown>", "<start>", "<end>")
_UNKNOWN, _START, _END = range(3)


@dataclass
class TextSource:
    """Where labelled texts come from, and how many words are told apart.

    Raises:
        InvalidInput: `words` is less than one.
    """

    dataset: str
    """Dataset: a Hugging Face hub id, such as stanfordnlp/imdb, or a local folder."""
    text_column: str = "text"
    """The column of texts."""
    label_column: str = "label"
    """The column of integer labels."""
    words: int = 1000
    """Words in the vocabulary: those that occur most often in the training split."""

    def __post_init__(self) -> None:
        if self.words < 1:
            raise InvalidInput(f"words must be at least 1, not {self.words}")


@dataclass(frozen=True, eq=False)
class WordBags:
    """Labelled texts, each as the words that it has.

    Attributes:
        x: uint8, (n, words + 3); 1 where the text has the column's word or token, else 0.
        labels: int64, (n,), as the dataset has them.
        vocabulary: of the columns: "<unknown>", "<start>", "<end>", words (most frequent first).
    """

    x: Tensor
    labels: Tensor
    vocabulary: tuple[str, ...]


def load_word_bags(source: TextSource, split: str, data_root: str | None = None) -> WordBags:
    """Return a split's texts as the words that they have, built at the first call and cached.

    The vocabulary is that of the split "train", whatever `split` is: the `source.words` words with
    the most occurrences, words with equally many in the order of their code points. A text has
    "<unknown>" where a word of it is not in the vocabulary, "<start>" and "<end>" where it has any.

    The dataset is the folder `<root>/<source.dataset>`, where root is `data_root` or else
    $LIT_LUL_DATA, or else the folder `source.dataset`, or else it is on the Hugging Face hub. The
    cache goes by its name and, for a folder, the paths and sizes of its files.

    Args:
        source: the dataset, its columns and the size of the vocabulary.
        split: one of the dataset's splits.
        data_root: a folder of datasets under their hub names.

    Raises:
        InvalidInput (a ValueError): the dataset cannot be found or read; it lacks the split, the
            split "train" or a column; a text is no string or a label no integer; the training
            split has too few words; or the `datasets` library is missing.
        InvalidInput: the cache directory cannot be written.
    """
    folder = find_folder(source.dataset, data_root)
    files = folder and fingerprint(folder)
    key = {**asdict(source), "split": split, "files": files, "encoding": _ENCODING}
    tensors = cached_tensors("text", key, lambda: _build(source, split, data_root))
    vocabulary = json.loads(bytes(tensors["vocabulary"].tolist()))
    return WordBags(tensors["x"], tensors["labels"], tuple(vocabulary))


def _build(source: TextSource, split: str, data_root: str | None) -> dict[str, Tensor]:
    rows = load_split(source.dataset, split, data_root)
    training = rows if split == "train" else load_split(source.dataset, "train", data_root)
    texts = _column(rows, source, source.text_column, str)
    labels = _column(rows, source, source.label_column, int)
    counts = Counter(
        word for text in _column(training, source, source.text_column, str) for word in _words(text)
    )
    if len(counts) < source.words:
        found = f"{len(counts)}, the distinct words of dataset {source.dataset!r}"
        raise InvalidInput(f"words must be at most {found}, not {source.words}")
    top = sorted(counts, key=lambda word: (-counts[word], word))[: source.words]
    vocabulary = [*_SPECIAL, *top]
    columns = {word: column for column, word in enumerate(vocabulary)}
    x = torch.zeros(len(texts), len(vocabulary), dtype=torch.uint8)
    for row, text in zip(x, texts, strict=True):
        if words := set(_words(text)):
            row[[_START, _END, *(columns.get(word, _UNKNOWN) for word in words)]] = 1
    return {
        "x": x,
        "labels": torch.tensor(labels, dtype=torch.int64),
        "vocabulary": torch.tensor([*json.dumps(vocabulary).encode()], dtype=torch.uint8),
    }


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("<br />", " "))


def _column(rows: Any, source: TextSource, name: str, kind: type) -> list[Any]:
    if name not in rows.column_names:
        raise InvalidInput(
            f"dataset {source.dataset!r} has no column {name!r}; it has {rows.column_names}"
        )
    values = list(rows[name])
    for row, value in enumerate(values):
        if not isinstance(value, kind):
            raise InvalidInput(
                f"column {name!r} of dataset {source.dataset!r} must hold {kind.__name__}, but row"
                f" {row} is {value!r:.60}"
            )
    return values
