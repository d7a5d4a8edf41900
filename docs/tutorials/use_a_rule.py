# %% [markdown]
# # Use a rule on your rows
#
# A *rule* trains a neural network from rows without labels. You then classify the network's output, its *features*, with a few
# labels. This page does both on scikit-learn's handwritten digits, in seconds on one CPU core. Your own rows work
# the same way: a table of numbers, one row per example.

# %%
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from lit_lul import RuleTransformer, apply_rule, available_rules, load_rule

x, y = load_digits(return_X_y=True)  # 1,797 rows of 64 pixels
available_rules()

# %% [markdown]
# ## Train a network without labels
#
# `RuleTransformer` scales the rows, starts a new network and lets the rule `competitive` change its weights, one minibatch of rows at a
# time. It never sees `y`. With `inner_steps=0` the network stays as it starts, at random.

# %%
features = {
    "raw pixels": x / 16,
    "random network": RuleTransformer(scale="global", inner_steps=0, random_state=0).fit_transform(
        x
    ),
    "after 100 inner steps": RuleTransformer(scale="global", random_state=0).fit_transform(x),
}
{name: u.shape for name, u in features.items()}

# %% [markdown]
# A network's features are 32 components, 256 prototypes and their 256 neighbourhoods.
#
# ## Classify with 100 labels

# %%
for name, u in features.items():
    classifier = LogisticRegression(max_iter=1000).fit(u[:100], y[:100])
    print(f"{name:22} {classifier.score(u[100:], y[100:]):.1%}")

# %% [markdown]
# This is one network and one choice of labels. Over five networks the features have 90.7%, and those of the rule's *initial θ*, before
# meta-training, 90.3%: the features of `competitive` were designed by hand. [What was found](../findings.md) has other datasets, and what
# beats the rule there.
#
# ## Look at it
#
# Two principal components of the features, coloured by the labels that the rule did not see:

# %%
figure, axes = plt.subplots(2, 1, figsize=(5, 8), layout="constrained")
for axis, name in zip(axes, list(features)[1:], strict=True):
    points = PCA(2).fit_transform(features[name])
    axis.scatter(points[:, 0], points[:, 1], c=y, cmap="tab10", s=6)
    axis.set(title=name, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## With tensors
#
# `apply_rule` does the same with tensors of values in [0, 1], for any rule. The network is fixed afterwards, and the embedding of a row does
# not depend on other rows. So rows that come later can be embedded one at a time:

# %%
rows = torch.tensor(x / 16).float()
applied = apply_rule(load_rule("competitive"), rows, seed=0)
later = applied.embed(rows[:1])
later.shape, torch.allclose(later, applied.embeddings[:1], atol=1e-6)

# %% [markdown]
# ## On the command line
#
# Rows in a file, results in files: `embeddings.npy`, and the network in `phi.safetensors`.

# %%
import numpy as np

np.save("rows.npy", rows.numpy())

# %% language="bash"
# lit-lul predict competitive out --data_path rows.npy --device cpu
# ls out

# %% [markdown]
# Next: [features for your own rows](../transformer.md), [your own data](../own_data.md), or [train a rule](train_a_rule.md) yourself.
