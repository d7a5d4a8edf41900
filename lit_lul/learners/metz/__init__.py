"""The unsupervised update rule of Metz et al. 2018 as a learner."""

from lit_lul.learners.metz.algorithm import UnsupervisedUpdate
from lit_lul.learners.metz.settings import PAPER, UpdateSettings

__all__ = ["PAPER", "UnsupervisedUpdate", "UpdateSettings"]
