"""What is meta-learned: modules whose parameters are θ. Importing this registers every learner."""

from lit_lul.learners.hebbian import HebbianRule, HebbianSettings
from lit_lul.learners.learner import LEARNERS, Batch, Learner, State, register
from lit_lul.learners.update_rule import UnsupervisedUpdate, UpdateSettings

__all__ = [
    "LEARNERS",
    "Batch",
    "HebbianRule",
    "HebbianSettings",
    "Learner",
    "State",
    "UnsupervisedUpdate",
    "UpdateSettings",
    "register",
]
