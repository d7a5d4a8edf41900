"""Neural baselines, each trained on all draws of a held-out dataset at once."""
