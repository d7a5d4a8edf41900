# %% [markdown]
# # Change the rule
#
# Three ways, from a setting to a rule of another kind. A rule is a learner with meta-parameters θ; its *settings* are all that is not
# learned.
#
# ## Look at the settings

# %%
from dataclasses import asdict, replace

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from lit_lul import UnsupervisedUpdate, apply_rule, load_rule

rule = load_rule("small")
asdict(rule.settings)

# %% [markdown]
# ## Change one, keep θ
#
# Some settings can be changed for a rule that is already trained. How much does a rule depend on the inner rate that it was trained
# with?

# %%
x, y = load_digits(return_X_y=True)
rows = torch.tensor(x / 16).float()


def accuracy(rule: UnsupervisedUpdate) -> float:
    """With 100 labels, after 30 inner steps on a small network."""
    applied = apply_rule(rule, rows, hidden_units=[64, 64], inner_steps=30)
    u = applied.embeddings
    classifier = LogisticRegression(max_iter=1000).fit(u[:100], y[:100])
    return float(classifier.score(u[100:], y[100:]))


for rate in (0.003, 0.03, 0.3):
    changed = UnsupervisedUpdate(replace(rule.settings, inner_rate=rate))
    changed.load_state_dict(rule.state_dict())
    print(f"inner rate {rate:<6} {accuracy(changed):.1%}")

# %% [markdown]
# One network each, so small differences mean nothing.
#
# ## Change one, and meta-train
#
# Most settings only make sense with a θ that was trained with them. On the command line every setting is an option. This one meta-trains
# without the term that keeps receptive fields from collapsing:
#
# ```sh
# lit-lul fit --config quickstart.yaml --model.learner.settings.growth 0
# lit-lul fit --help   # all of them, with what they mean
# ```
#
# ## Another rule
#
# The configuration names the learner's class. `hebbian.yaml` is based on the quick start and replaces it by a rule whose θ is a few dozen
# coefficients of classic plasticity terms. Its full run has 700 outer steps; 20 show that it learns.

# %% language="bash"
# lit-lul fit --config hebbian.yaml \
#     --trainer.max_steps 20 --trainer.limit_val_batches 0 \
#     --trainer.enable_progress_bar false \
#     --held_out.digits.every_n_outer_steps 20 --held_out.digits.draws 8

# %%
hebbian = load_rule("runs/hebbian/version_0/checkpoints/theta.safetensors")
type(hebbian).__name__, sum(p.numel() for p in hebbian.parameters())

# %% [markdown]
# [Local rules](../local_rules.md) compares the two after full runs: at this size the few numbers win, and their initial values already do.
#
# ## A rule of your own
#
# A class with `start` and `step`, in a file beside your configuration: [extend it](../extending.md#a-learner) has a working one of 30
# lines.
