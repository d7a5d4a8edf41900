"""Rules beside every baseline."""
