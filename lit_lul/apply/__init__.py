"""Learners on a user's own data: rows, transformers, optimizers."""
