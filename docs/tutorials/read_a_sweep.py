# %% [markdown]
# # Read a sweep
#
# A sweep runs one configuration with many values of a setting. [The sweeps that ship](../wandb.md#sweeps) are for Weights & Biases, whose
# server draws the values; that takes hours. This page runs a sweep of three values without a server, **cut down** to ten outer steps
# each, to show what to read and what not to conclude.
#
# ## Three runs
#
# `main` is the command line as a function. `held_out` is empty, because a choice by held-out data would spoil them.

# %%
import csv
from pathlib import Path

import matplotlib.pyplot as plt
import yaml

from lit_lul.cli import main

short = ["--held_out={}", "--trainer.max_steps=10"]
short += ["--trainer.enable_progress_bar=false"]
for rate in (0.003, 0.03, 0.3):
    setting = f"--model.learner.settings.inner_rate={rate}"
    main(["fit", "--config=hebbian.yaml", setting, *short])

# %% [markdown]
# ## What was set, and what came out
#
# Every run's folder has all of its settings in `config.yaml`, and the metric of sweeps, `val/accuracy`, in the last row of
# `metrics.csv`: few-shot accuracy on characters that meta-training does not use. They are the same tasks in every run, so the runs
# can be compared.

# %%
rates, accuracies = [], []
for run in sorted(Path("runs/hebbian").iterdir()):
    config = yaml.safe_load((run / "config.yaml").read_text())
    with (run / "metrics.csv").open(newline="") as file:
        *_, last = csv.DictReader(file)
    settings = config["model"]["learner"]["init_args"]["settings"]
    rates.append(settings["inner_rate"])
    accuracies.append(float(last["val/accuracy"]))
    print(f"{run.name}  {rates[-1]:<6} {accuracies[-1]:.1%}")

# %%
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.semilogx(rates, accuracies, "o-")
axis.set(xlabel="inner rate", ylabel="accuracy on held-out characters")
plt.show()

# %% [markdown]
# ## How to read it
#
# - **One seed each.** Repeat the best and its neighbours with `--seed_everything 1`, 2, ...; a difference that does not survive that
#   is noise.
# - **Short runs favour fast starts.** A setting that is best after ten outer steps need not be after 700. Train the best few for longer.
# - **The edge of the range.** If the best value is the largest or the smallest one, as here, the range was too narrow.
# - **Only then held-out data**, once, for the setting that was chosen.
#
# ## With Weights & Biases
#
# ```sh
# pip install 'lit-lul[wandb]'
# wandb sweep sweeps/inner_rate.yaml   # in a clone; prints the sweep's ID
# wandb agent <entity>/lit_lul/<ID>
# ```
#
# Its page then has the same two columns for 40 runs, and a chart of all settings against `val/accuracy`.
