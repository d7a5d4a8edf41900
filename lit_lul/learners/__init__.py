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
from lit_lul.learners.local.prototypes import PrototypeRule, PrototypeSettings
from lit_lul.learners.local.rule import LocalRule, LocalSettings
from lit_lul.learners.local.terms import TERMS, Synapses, term
from lit_lul.learners.lstm_optimizer import LSTMOptimizer, LSTMSettings
from lit_lul.learners.metz import UnsupervisedUpdate, UpdateSettings

__all__ = [
    "ANIL",
    "LEARNERS",
    "MAML",
    "TERMS",
    "Batch",
    "GradientDescent",
    "LSTMOptimizer",
    "LSTMSettings",
    "LearnedStart",
    "Learner",
    "LocalRule",
    "LocalSettings",
    "MAMLSettings",
    "MetaSGD",
    "MetaSGDSettings",
    "PrototypeRule",
    "PrototypeSettings",
    "PrototypicalNetwork",
    "StartSettings",
    "State",
    "Synapses",
    "UnsupervisedUpdate",
    "UpdateSettings",
    "register",
    "term",
]
