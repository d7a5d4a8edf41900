"""The held-out curve: few-shot accuracy of fresh base models against inner steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lit_lul.evaluation.held_out import HeldOut, Probe
from lit_lul.evaluation.held_out_data import HeldOutData
from lit_lul.evaluation.rollout import rollout
from lit_lul.learners.update_rule import UnsupervisedUpdate
from lit_lul.networks.mlp import MLP, Phi
from lit_lul.objectives.few_shot_ridge import Labelled, MetaObjective

LOGISTIC_ITERATIONS = 1000


@dataclass(frozen=True)
class Curve:
    """Accuracy over draws at every probed step."""

    steps: tuple[int, ...]
    """Inner steps."""
    mean: tuple[float, ...]
    """Mean accuracy over the draws, 0 to 1."""
    standard_error: tuple[float, ...]
    """Standard error of the mean."""

    @classmethod
    def of(cls, steps: tuple[int, ...], accuracy: Tensor) -> "Curve":
        """From the accuracies of all draws, (steps, draws)."""
        error = accuracy.std(1) / accuracy.shape[1] ** 0.5
        return cls(steps, tuple(accuracy.mean(1).tolist()), tuple(error.tolist()))


@dataclass(frozen=True, eq=False)
class Rollouts:
    """What the rollouts of some draws gave."""

    accuracy: Tensor
    """(probes, steps, draws), float64."""
    first_layer: Tensor
    """First-layer weights of the first draw at the end, inputs in their own order, (N_0, N_1)."""
    embedding: Tensor
    """Its embedding of the query examples, (K', E)."""
    labels: Tensor
    """Their classes, (K',)."""


class Draws:
    """Base models, permutations and examples of some draws, each from a seed of its own.

    So a draw is the same whichever others it is rolled out with.

    Args:
        data: where the examples come from.
        held_out: how many of each.
        numbers: which draws.
        device: where their tensors go.
    """

    def __init__(
        self, data: HeldOutData, held_out: HeldOut, numbers: Sequence[int], device: torch.device
    ) -> None:
        self._rngs = [np.random.default_rng([held_out.seed, n]) for n in numbers]
        self._data, self._batch_size, self._device = data, held_out.batch_size, device
        self._unlabelled = data.unlabelled.to(device)
        inputs = data.x.shape[1]
        self.permutation = torch.from_numpy(
            np.stack([rng.permutation(inputs) for rng in self._rngs])
        ).to(device)
        sides = [
            data.sample_rows(held_out.labels_per_class, held_out.tests_per_class, rng)
            for rng in self._rngs
        ]
        support, query = (torch.from_numpy(np.stack(rows)) for rows in zip(*sides, strict=True))
        one_hot = torch.eye(data.n_classes, device=device)
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

    def init(self, base_model: MLP) -> Phi:
        """φ of every draw."""
        seeds = [int(rng.integers(2**62)) for rng in self._rngs]
        each = [base_model.init(1, torch.Generator().manual_seed(seed)) for seed in seeds]
        return Phi(
            *(
                tuple(torch.cat(tensors).to(self._device) for tensors in zip(*groups, strict=True))
                for groups in zip(*each, strict=True)
            )
        )

    def minibatch(self) -> Tensor:
        """The next unlabelled minibatch of every draw, (T, B, N_0)."""
        n = len(self._unlabelled)
        rows = np.stack([rng.integers(n, size=self._batch_size) for rng in self._rngs])
        return self._rows(self._unlabelled, torch.from_numpy(rows))

    def _rows(self, source: Tensor, index: Tensor) -> Tensor:
        """Rows (T, K) of (n, N_0), in [0, 1], inputs permuted: (T, K, N_0)."""
        x = source[index.to(source.device)].to(self._device).float() * self._data.scale
        return x.gather(-1, self.permutation.unsqueeze(1).expand(x.shape))


def roll_out_draws(
    rule: UnsupervisedUpdate,
    objective: MetaObjective,
    data: HeldOutData,
    held_out: HeldOut,
    numbers: Sequence[int],
) -> Rollouts:
    """Roll out some draws at once on the rule's device, and probe them.

    Raises:
        InvalidInput: when the data have too few examples for the labels asked for.
    """
    draws = Draws(data, held_out, numbers, next(rule.parameters()).device)
    sizes = (data.x.shape[1], *held_out.hidden_units, rule.settings.embedding_units)
    base_model = MLP(sizes, held_out.activation)
    accuracy = []
    phi = start = draws.init(base_model)
    steps = held_out.probe_steps
    with torch.no_grad():
        for _, phi in rollout(rule, base_model, start, draws.minibatch, steps):
            support_u, query_u = objective.embed(base_model, phi, draws.labelled)
            accuracy.append(probe(held_out.probes, objective, draws, support_u[0], query_u[0]))
    original_order = draws.permutation[0].argsort()
    return Rollouts(
        torch.stack(accuracy, dim=1),
        phi.weights[0][0, original_order].cpu(),
        query_u[0, 0].cpu(),
        draws.query_labels[0],
    )


def probe(
    names: Sequence[Probe],
    objective: MetaObjective,
    draws: Draws,
    support_u: Tensor,
    query_u: Tensor,
) -> Tensor:
    """Few-shot accuracy of features of every draw's labelled examples.

    Where features are not finite, all examples are taken to be of the first class.

    Args:
        names: the classifiers.
        objective: gives the ridge.
        draws: T draws, whose labels are predicted.
        support_u: features to learn from, (T, K, E).
        query_u: features to test on, (T, K', E).

    Returns:
        (probes, T), float64, on the CPU.
    """
    of_probe = {"ridge": _ridge, "logistic": _logistic}
    return torch.stack([of_probe[name](objective, draws, support_u, query_u) for name in names])


def _ridge(objective: MetaObjective, draws: Draws, support_u: Tensor, query_u: Tensor) -> Tensor:
    score = objective.score(support_u[None], query_u[None], draws.labelled)
    return score.accuracy.double().cpu()


def _logistic(_: MetaObjective, draws: Draws, support_u: Tensor, query_u: Tensor) -> Tensor:
    scores = []
    for support, query, known, asked in zip(
        support_u.cpu(), query_u.cpu(), draws.support_labels, draws.query_labels, strict=True
    ):
        guess: Tensor | np.ndarray = torch.zeros_like(asked)
        if support.isfinite().all() and query.isfinite().all():
            classifier = LogisticRegression(max_iter=LOGISTIC_ITERATIONS)
            guess = classifier.fit(support.numpy(), known.numpy()).predict(query.numpy())
        scores.append((torch.as_tensor(guess) == asked).double().mean())
    return torch.stack(scores)
