"""Learners: modules with meta-parameters θ. Importing this registers all of them."""

from lit_lul.learners.gradient_descent import (
    ANIL,
    MAML,
    GradientDescent,
    MAMLSettings,
    MetaSGD,
    MetaSGDSettings,
)
from lit_lul.learners.learned_start import LearnedStart, PrototypicalNetwork, StartSettings
from lit_lul.learners.learner import LEARNERS, Batch, Learner, State, register
from lit_lul.learners.local.competitive import CompetitiveRule, CompetitiveSettings
from lit_lul.learners.local.hebbian import HebbianRule, HebbianSettings
from lit_lul.learners.local.layered_hebbian import LayeredHebbianRule
from lit_lul.learners.lstm_optimizer import LSTMOptimizer, LSTMSettings
from lit_lul.learners.metz import UnsupervisedUpdate, UpdateSettings

__all__ = [
    "ANIL",
    "LEARNERS",
    "MAML",
    "Batch",
    "CompetitiveRule",
    "CompetitiveSettings",
    "GradientDescent",
    "HebbianRule",
    "HebbianSettings",
    "LSTMOptimizer",
    "LSTMSettings",
    "LayeredHebbianRule",
    "LearnedStart",
    "Learner",
    "MAMLSettings",
    "MetaSGD",
    "MetaSGDSettings",
    "PrototypicalNetwork",
    "StartSettings",
    "State",
    "UnsupervisedUpdate",
    "UpdateSettings",
    "register",
]
