"""Held-out evaluation: data, rollouts, probes, baselines and curves."""
