"""Bags of words sampled from a topic model: text without a dataset of texts.

As in latent Dirichlet allocation (Blei, Ng and Jordan 2003), a topic is a distribution over words
and a text a mixture of topics. A class is a distribution of mixtures. As in `lit_lul.data.text`, an
input is 1 if the word is present, else 0.
"""

import numpy as np

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
