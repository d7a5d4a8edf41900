"""Classification by the nearest class mean of the embedding (Snell et al. 2017).

Shapes: R draws, T tasks, K and K' support and query examples, E embedding units, C target columns.
"""

from dataclasses import dataclass

import torch

from lit_lul.networks.network import Network, Params
from lit_lul.objectives.objective import Labelled, Objective, Score
from lit_lul.objectives.supervised import cross_entropy
from lit_lul.precision import full_precision


@dataclass(frozen=True)
class Prototypes(Objective):
    """Cross-entropy of a softmax of negative squared distances to the class means.

    Support and query share their batch statistics. Targets that are not classes do not count.
    """

    def __call__(self, network: Network, params: Params, labelled: Labelled) -> Score:
        """Loss and accuracy of T tasks."""
        k = labelled.support_x.shape[-2]
        u = network.embed(params, torch.cat([labelled.support_x, labelled.query_x], dim=-2))
        support_u, query_u = u[..., :k, :], u[..., k:, :]
        other = ~labelled.is_class.unsqueeze(-2)
        y, support_y = (
            targets.masked_fill(other, 0.0) for targets in (labelled.query_y, labelled.support_y)
        )
        with full_precision(u):
            counts = support_y.sum(-2).clamp(min=1).unsqueeze(-1)
            means = support_y.mT @ support_u / counts  # (R, T, C, E)
            distances = (query_u.unsqueeze(-2) - means.unsqueeze(-3)).square().sum(-1)
            logits = (-distances).masked_fill(other, torch.finfo(u.dtype).min)
            loss = cross_entropy(logits, y)
        hits = (logits.argmax(-1) == y.argmax(-1)).to(loss.dtype).mean(-1)
        return Score(loss.mean(0), hits.mean(0))
