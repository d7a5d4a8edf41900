"""Clusters of unlabelled images, which take the place of classes (CACTUs, Hsu et al. 2019)."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor

from lit_lul.apply.rule import apply_rule
from lit_lul.constraints import Checked, PositiveInt
from lit_lul.data.cache import cached_tensors
from lit_lul.errors import InvalidInput
from lit_lul.files.theta import load_rule, rule_path

SCALES = (0.5, 1.5)
"""Bounds of the random factors of an embedding's dimensions, for partitions after the first."""
ITERATIONS = 50
"""Largest number of iterations of k-means."""


@dataclass(frozen=True)
class Clusters(Checked):
    """How images are partitioned into clusters, by k-means on an embedding."""

    embedding: str = "pca"
    """What is clustered: raw (pixels), pca (principal components), or the embedding by a rule that
    ships or a file of θ."""
    components: PositiveInt = 32
    """Number of principal components."""
    number: PositiveInt = 500
    """Clusters of a partition."""
    partitions: PositiveInt = 1
    """Partitions; each after the first scales every dimension of the embedding at random."""

    def partition(self, images: Tensor) -> Tensor:
        """The cluster of every image in every partition, computed once and cached.

        Args:
            images: (n, channels, side, side) uint8.

        Returns:
            (partitions, n), int64.
        """
        if self.number > len(images):
            raise InvalidInput(f"clusters number {self.number}: there are {len(images)} images")
        content = hashlib.sha256(images.numpy().tobytes()).hexdigest()
        key = {"images": content, **asdict(self), "iterations": ITERATIONS}
        if self.embedding not in ("raw", "pca"):
            load_rule(self.embedding)  # whose error is one line if there is none
            theta = Path(rule_path(self.embedding)).read_bytes()
            key["embedding"] = hashlib.sha256(theta).hexdigest()

        def build() -> dict[str, Tensor]:
            features = self.fit(images)(images.flatten(1).float() / 255)
            found = []
            for seed in range(self.partitions):
                scale = np.random.default_rng(seed).uniform(*SCALES, features.shape[1])
                scaled = features * scale if seed else features
                kmeans = KMeans(self.number, n_init=1, max_iter=ITERATIONS, random_state=seed)
                found.append(kmeans.fit_predict(scaled.astype(np.float32)))
            return {"members": torch.from_numpy(np.stack(found).astype(np.int64))}

        return cached_tensors("clusters", key, build)["members"]

    def fit(self, images: Tensor) -> Callable[[Tensor], np.ndarray]:
        """Fit the embedding to images (n, channels, side, side), uint8.

        A rule trains `apply_rule`'s default network on the images, without labels.

        Returns:
            A function from rows (n, N_0) in [0, 1] to embeddings (n, E) float32.
        """
        rows = images.flatten(1).float() / 255
        if self.embedding == "raw":
            return lambda x: x.numpy()
        if self.embedding == "pca":
            size = min(self.components, *rows.shape)
            pca = PCA(size, random_state=0).fit(rows.numpy())
            return lambda x: np.asarray(pca.transform(x.numpy()), dtype=np.float32)
        applied = apply_rule(load_rule(self.embedding), rows)
        return lambda x: applied.embed(x).numpy()
