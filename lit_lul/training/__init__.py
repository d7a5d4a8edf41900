"""Meta-training in Lightning: module, data, checkpoints, logs."""
