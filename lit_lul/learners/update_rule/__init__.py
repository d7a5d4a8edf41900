"""Learning rules: modules whose parameters are θ."""

from lit_lul.learners.update_rule.algorithm import UnsupervisedUpdate
from lit_lul.learners.update_rule.settings import RuleSettings

__all__ = ["RuleSettings", "UnsupervisedUpdate"]
