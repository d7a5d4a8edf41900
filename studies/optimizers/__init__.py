"""Learned optimizers beside tuned ones."""
