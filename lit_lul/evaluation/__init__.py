"""Held-out evaluation: rollouts, data and curves."""
