"""Learners: modules with meta-parameters θ. Importing this registers all of them."""

from lit_lul.learners.hebbian import HebbianRule, HebbianSettings
from lit_lul.learners.learner import LEARNERS, Batch, Learner, State, register
from lit_lul.learners.lstm_optimizer import LSTMOptimizer, LSTMSettings
from lit_lul.learners.update_rule import UnsupervisedUpdate, UpdateSettings

__all__ = [
    "LEARNERS",
    "Batch",
    "HebbianRule",
    "HebbianSettings",
    "LSTMOptimizer",
    "LSTMSettings",
    "Learner",
    "State",
    "UnsupervisedUpdate",
    "UpdateSettings",
    "register",
]
