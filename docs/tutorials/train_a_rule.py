# %% [markdown]
# # Train a rule and watch it
#
# Meta-training starts with a rule that does not work and improves it, by letting it train many small networks. The full run takes
# about nine minutes of one CPU core and needs no data:
#
# ```sh
# lit-lul fit --config quickstart.yaml
# ```
#
# This page is rebuilt for every change of the code, so the run below is **cut down** from 700 outer steps to 30. It shows where to
# look; it does not end with a good rule. The last picture is from the full run.

# %% language="bash"
# lit-lul fit --config quickstart.yaml \
#     --trainer.max_steps 30 --trainer.limit_val_batches 0 \
#     --trainer.enable_progress_bar false \
#     --held_out.digits.every_n_outer_steps 15 --held_out.digits.draws 8

# %% [markdown]
# The numbers are few-shot accuracy on handwritten digits, which meta-training never sees: it has characters of fonts, without
# digits. *Before the inner loop* is the random network that the rule starts from; *initial θ* is the rule before meta-training.
#
# ## What a run writes

# %% language="bash"
# ls runs/quickstart/version_0 runs/quickstart/version_0/checkpoints

# %% [markdown]
# - `config.yaml`: every setting of the run;
# - `metrics.csv`: one row for each outer step;
# - `digits_curve.*`: accuracy against inner steps, at several times of meta-training;
# - `checkpoints/last.ckpt`: to [resume](../training.md#resume); `checkpoints/theta.safetensors`: the rule itself.
#
# ## The meta-loss
#
# It is noisy, because every outer step has other tasks. A mean over many steps falls in the full run; 30 steps are too few to tell.

# %%
import csv
from pathlib import Path

import matplotlib.pyplot as plt

run = Path("runs/quickstart/version_0")
with (run / "metrics.csv").open(newline="") as file:
    logged = [row for row in csv.DictReader(file) if row["train/meta_loss"]]
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
steps = [int(row["step"]) for row in logged]
axis.plot(steps, [float(row["train/meta_loss"]) for row in logged])
axis.set(xlabel="outer steps", ylabel="meta-loss")
plt.show()

# %% [markdown]
# ## The curve on digits
#
# Each line is the same experiment with the rule of that time: networks start at inner step 0, and the rule trains them to the right.

# %%
from IPython.display import Image

Image(run / "digits_curve.png")

# %% [markdown]
# After 700 outer steps it looks like this:
#
# ![The same curve of the full run: lines rise from 65% to 86%](../quickstart.png)
#
# ## Use it
#
# The rule that the run has written loads as the shipped ones do. The full run's rule ships under the name `quickstart`.

# %%
from lit_lul import load_rule

ours = load_rule(run / "checkpoints/theta.safetensors")
shipped = load_rule("quickstart")
ours.settings == shipped.settings, sum(p.numel() for p in ours.parameters())

# %% [markdown]
# Next: [change the rule](change_the_rule.md). For charts in a browser add `--config tensorboard.yaml` or `--config wandb.yaml`.
