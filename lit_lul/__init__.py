"""lit_lul: meta-train unsupervised learning rules, and use them."""

from lit_lul.apply import Applied, apply_rule
from lit_lul.base_model import MLP, Phi
from lit_lul.errors import InvalidInput
from lit_lul.meta_objective import MetaObjective, ObjectiveSettings
from lit_lul.rule_file import available_rules, load_rule, save_rule
from lit_lul.rules import RuleSettings, UnsupervisedUpdate

__all__ = [
    "MLP",
    "Applied",
    "InvalidInput",
    "MetaObjective",
    "ObjectiveSettings",
    "Phi",
    "RuleSettings",
    "UnsupervisedUpdate",
    "apply_rule",
    "available_rules",
    "load_rule",
    "save_rule",
]
