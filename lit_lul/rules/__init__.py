"""Learning rules: modules whose parameters are θ."""

from lit_lul.rules.settings import RuleSettings
from lit_lul.rules.unsupervised_update import UnsupervisedUpdate

__all__ = ["RuleSettings", "UnsupervisedUpdate"]
