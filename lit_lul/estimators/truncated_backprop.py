"""One truncation: U inner steps, then the meta-objective; here rule and tasks meet."""

from typing import NamedTuple

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lit_lul.learners.update_rule import UnsupervisedUpdate
from lit_lul.networks.mlp import MLP, Phi
from lit_lul.objectives.few_shot_ridge import Labelled, MetaObjective


class Truncation(NamedTuple):
    """What an unroll gives."""

    loss: Tensor
    """Meta-objective after the last step, (T,); its gradient into θ reaches back U steps."""
    accuracy: Tensor
    """Few-shot accuracy after the last step, (T,)."""
    phi: Phi
    """The final φ, detached: where the next truncation starts."""


def unroll(
    rule: UnsupervisedUpdate,
    objective: MetaObjective,
    base_model: MLP,
    phi: Phi,
    unlabelled: Tensor,
    labelled: Labelled,
    recompute: bool = True,
) -> Truncation:
    """Apply the rule U times and score the representation it reaches (section 4.1, algorithm 1).

    Under autocast the hidden states alone are of its type; φ and the objective stay as they are.

    Args:
        rule: the rule; gradients flow into its θ.
        objective: the score of the last φ.
        base_model: the network of T tasks that φ belongs to.
        phi: base parameters at the start; no gradient flows beyond them.
        unlabelled: one minibatch for each inner step, (U, T, B, N_0).
        labelled: draws of labelled batches, only seen by the objective.
        recompute: keep only φ of every step, and compute its activations a second time for the
            gradient: about a third more work, and memory that does not grow with U.
    """
    phi = phi.map(Tensor.detach)
    for x in unlabelled:
        phi = (
            checkpoint(rule, base_model, phi, x, use_reentrant=False, preserve_rng_state=False)
            if recompute
            else rule(base_model, phi, x)
        )
    score = objective(base_model, phi, labelled)
    return Truncation(score.loss, score.accuracy, phi.map(Tensor.detach))
