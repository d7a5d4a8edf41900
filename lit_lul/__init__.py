"""lit_lul: meta-train unsupervised learning rules, and use them."""

from lit_lul.apply import Applied, apply_rule
from lit_lul.errors import InvalidInput
from lit_lul.files.theta import available_rules, load_rule, save_rule
from lit_lul.learners.update_rule import RuleSettings, UnsupervisedUpdate
from lit_lul.networks.mlp import MLP, Phi
from lit_lul.objectives.few_shot_ridge import MetaObjective, ObjectiveSettings

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
