# %% [markdown]
# # Use a rule on your rows
#
# A *rule* trains a neural network from rows without labels. You then classify the network's output, the *embedding*, with a few
# labels. This page does both on scikit-learn's handwritten digits, in under a minute on one CPU core. Your own rows work
# the same way: a table of numbers in [0, 1], one row per example.

# %%
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from lit_lul import apply_rule, available_rules, load_rule

x, y = load_digits(return_X_y=True)
rows = torch.tensor(x / 16).float()  # 1,797 rows of 64 pixels, in [0, 1]
available_rules()

# %% [markdown]
# ## Train a network without labels
#
# `apply_rule` starts a new network and lets the rule change its weights, one minibatch of rows at a time. It never sees `y`.

# %%
rule = load_rule("small")
applied = apply_rule(rule, rows, inner_steps=100, seed=0)
applied.network.sizes, applied.embeddings.shape

# %% [markdown]
# The network has 64 inputs, four hidden layers of 128 units and an embedding of 32. Nothing else was chosen.
#
# ## Classify with 100 labels
#
# The same classifier on raw pixels, on the embedding of the network before the rule, and on the embedding after it:

# %%
start = apply_rule(rule, rows, inner_steps=0, seed=0)
features = {
    "raw pixels": rows.numpy(),
    "before the rule": start.embeddings.numpy(),
    "after 100 inner steps": applied.embeddings.numpy(),
}
for name, u in features.items():
    classifier = LogisticRegression(max_iter=1000).fit(u[:100], y[:100])
    print(f"{name:22} {classifier.score(u[100:], y[100:]):.1%}")

# %% [markdown]
# These are one network and one choice of labels; [results](../results.md) has means and standard errors, other datasets, and what beats
# the rule there. On digits k-means does as well.
#
# ## Look at it
#
# Two principal components of the embedding, coloured by the labels that the rule did not see:

# %%
figure, axes = plt.subplots(2, 1, figsize=(5, 8), layout="constrained")
for axis, name in zip(axes, list(features)[1:], strict=True):
    points = PCA(2).fit_transform(features[name])
    axis.scatter(points[:, 0], points[:, 1], c=y, cmap="tab10", s=6)
    axis.set(title=name, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Embed other rows
#
# The network is fixed now, and the embedding of a row does not depend on other rows. So rows that come later can be embedded one at a
# time:

# %%
later = applied.embed(rows[:1])
later.shape, torch.allclose(later, applied.embeddings[:1])

# %% [markdown]
# ## On the command line
#
# Rows in a file, results in files: `embeddings.npy`, and the network in `phi.safetensors`.

# %%
import numpy as np

np.save("rows.npy", rows.numpy())

# %% language="bash"
# lit-lul predict small out --data_path rows.npy --inner_steps 20 --device cpu
# ls out

# %% [markdown]
# Next: [your own data](../own_data.md), or [train a rule](train_a_rule.md) yourself.
