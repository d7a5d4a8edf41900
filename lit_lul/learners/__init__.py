"""What is meta-learned: modules whose parameters are θ."""
