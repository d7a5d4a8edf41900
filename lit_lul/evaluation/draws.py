"""The draws of a held-out curve: permutations of inputs, labelled examples, minibatches."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lit_lul.evaluation.held_out import HeldOut
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.learners.learner import Learner, State
from lit_lul.networks.network import Network, Params
from lit_lul.objectives.objective import Labelled
from lit_lul.trees import Tree, concatenate, to_device


class Draws:
    """T draws of a held-out dataset, each a task with its own random stream.

    A draw is therefore the same whichever others it is rolled out with.

    Shapes: K labelled examples in the support, K' in the query, N_0 inputs, C classes.

    Args:
        data: the dataset.
        held_out: the sizes and the seed.
        numbers: numbers of the T draws.
        like: a tensor with the device and dtype of all tensors, such as one of θ.

    Raises:
        InvalidInput: when a class has too few examples.
    """

    permutation: Tensor
    """The source index of every input, (T, N_0)."""
    labelled: Labelled
    """Support and query with R = 1, inputs permuted."""
    support_labels: Tensor
    """(T, K), on the CPU."""
    query_labels: Tensor
    """(T, K'), on the CPU."""
    seeds: list[int]
    """A seed per draw, for its network and the noise that it is trained with."""

    def __init__(
        self, data: HeldOutData, held_out: HeldOut, numbers: Sequence[int], like: Tensor
    ) -> None:
        self._rngs = [np.random.default_rng([held_out.seed, n]) for n in numbers]
        self._data, self._held_out, self._like = data, held_out, like
        device = like.device
        self._unlabelled = data.unlabelled.to(device)
        inputs, n = data.x.shape[1], len(data.unlabelled)
        orders = np.stack([rng.permutation(inputs) for rng in self._rngs])
        if not held_out.permuted:
            orders = np.sort(orders)
        self.permutation = torch.from_numpy(orders).to(device)
        sides = [
            data.sample_rows(held_out.labels_per_class, held_out.tests_per_class, rng)
            for rng in self._rngs
        ]
        # a child stream, so that the draws of the parent stream do not depend on it
        of_statistics = [
            rng.spawn(1)[0].choice(n, min(held_out.statistics_rows, n), replace=False)
            for rng in self._rngs
        ]
        self._statistics_rows = torch.from_numpy(np.stack(of_statistics))
        self.seeds = [int(rng.integers(2**62)) for rng in self._rngs]
        support, query = (torch.from_numpy(np.stack(rows)) for rows in zip(*sides, strict=True))
        one_hot = torch.eye(data.n_classes, dtype=like.dtype, device=device)
        columns = torch.ones(len(numbers), data.n_classes, dtype=torch.bool, device=device)
        self.support_labels, self.query_labels = data.labels[support], data.labels[query]
        self.labelled = Labelled(
            self._rows(data.x, support)[None],
            one_hot[self.support_labels.to(device)][None],
            self._rows(data.x, query)[None],
            one_hot[self.query_labels.to(device)][None],
            is_class=columns,
            is_target=columns,
        )

    def start(self, learner: Learner, network: Network) -> State:
        """The learner's state for new networks, each from its draw's seed."""
        return self.from_seeds(lambda generator: learner.start(network, 1, generator))

    def random_networks(self, network: Network) -> Params:
        """φ of new networks; the same as in `start` if the learner draws φ first."""
        return self.from_seeds(lambda generator: network.init(1, generator))

    def minibatch(self) -> Tensor:
        """The next unlabelled minibatch of every draw, (T, B, N_0)."""
        n, batch_size = len(self._unlabelled), self._held_out.batch_size
        rows = np.stack([rng.integers(n, size=batch_size) for rng in self._rngs])
        return self._rows(self._unlabelled, torch.from_numpy(rows))

    def statistics_rows(self) -> Tensor:
        """The unlabelled rows that give the inductive protocol its statistics, (T, rows, N_0)."""
        return self._rows(self._unlabelled, self._statistics_rows)

    def from_seeds(self, draw: Callable[[torch.Generator], Tree]) -> Tree:
        """What `draw` makes for one task, from the seed of every draw, joined along T."""
        with torch.no_grad():
            trees = [draw(torch.Generator().manual_seed(seed)) for seed in self.seeds]
        return to_device(concatenate(trees), self._like.device)

    def _rows(self, source: Tensor, index: Tensor) -> Tensor:
        """Rows (T, K) of (n, N_0), in [0, 1], inputs permuted: (T, K, N_0)."""
        x = source[index.to(source.device)].to(self._like.device, self._like.dtype)
        x = x * self._data.scale
        return x.gather(-1, self.permutation.unsqueeze(1).expand(x.shape))
