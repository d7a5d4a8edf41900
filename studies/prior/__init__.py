"""Worlds of the synthetic prior beside real datasets."""
