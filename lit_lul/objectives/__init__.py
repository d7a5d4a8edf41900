"""Scores of a trained network on labelled draws."""
