"""Reports that compare rules and baselines: the suite, results on held-out data, the prior."""
