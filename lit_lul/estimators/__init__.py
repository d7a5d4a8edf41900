"""Estimators of the gradient of θ."""

from lit_lul.estimators.estimator import Estimator, Outcome, Truncation
from lit_lul.estimators.persistent_es import PersistentES
from lit_lul.estimators.truncated_backprop import TruncatedBackprop, unroll

__all__ = ["Estimator", "Outcome", "PersistentES", "TruncatedBackprop", "Truncation", "unroll"]
