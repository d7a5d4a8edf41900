"""Networks that learners train; their parameters are φ."""
