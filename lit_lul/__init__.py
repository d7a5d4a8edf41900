"""lit_lul: meta-train learning rules and apply them."""

from lit_lul.apply import Applied, apply_rule
from lit_lul.errors import InvalidInput
from lit_lul.files.publish import push_rule
from lit_lul.files.theta import available_rules, load_learner, load_rule, save_learner
from lit_lul.learners import (
    Batch,
    HebbianRule,
    HebbianSettings,
    Learner,
    UnsupervisedUpdate,
    UpdateSettings,
)
from lit_lul.networks import MLP, MLPs
from lit_lul.objectives import FewShotRidge

__all__ = [
    "MLP",
    "Applied",
    "Batch",
    "FewShotRidge",
    "HebbianRule",
    "HebbianSettings",
    "InvalidInput",
    "Learner",
    "MLPs",
    "UnsupervisedUpdate",
    "UpdateSettings",
    "apply_rule",
    "available_rules",
    "load_learner",
    "load_rule",
    "push_rule",
    "save_learner",
]
