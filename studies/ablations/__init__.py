"""Runs of ablations, and the paper's claims about them."""
