"""lit_lul: meta-train learning rules and apply them."""

from typing import TYPE_CHECKING

from lit_lul.apply.rule import Applied, apply_rule
from lit_lul.errors import InvalidInput
from lit_lul.files.publish import push_rule
from lit_lul.files.theta import (
    available_learners,
    available_rules,
    load_learner,
    load_rule,
    save_learner,
)
from lit_lul.learners import (
    ANIL,
    MAML,
    Batch,
    Learner,
    LocalRule,
    LocalSettings,
    LSTMOptimizer,
    LSTMSettings,
    MetaSGD,
    PrototypeRule,
    PrototypeSettings,
    PrototypicalNetwork,
    UnsupervisedUpdate,
    UpdateSettings,
)
from lit_lul.networks import MLP, CompetitiveNetwork, ConvNet, MLPs
from lit_lul.objectives import FewShotRidge

if TYPE_CHECKING:
    from lit_lul.apply.transformer import RuleTransformer
    from lit_lul.apply.transformer_file import load_transformer, save_transformer
else:

    def __getattr__(name: str) -> object:
        """Import what needs scikit-learn, which takes as long as torch, when it is first used."""
        if name == "RuleTransformer":
            from lit_lul.apply import transformer as module
        elif name in ("load_transformer", "save_transformer"):
            from lit_lul.apply import transformer_file as module
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(module, name)


__all__ = [
    "ANIL",
    "MAML",
    "MLP",
    "Applied",
    "Batch",
    "CompetitiveNetwork",
    "ConvNet",
    "FewShotRidge",
    "InvalidInput",
    "LSTMOptimizer",
    "LSTMSettings",
    "Learner",
    "LocalRule",
    "LocalSettings",
    "MLPs",
    "MetaSGD",
    "PrototypeRule",
    "PrototypeSettings",
    "PrototypicalNetwork",
    "RuleTransformer",
    "UnsupervisedUpdate",
    "UpdateSettings",
    "apply_rule",
    "available_learners",
    "available_rules",
    "load_learner",
    "load_rule",
    "load_transformer",
    "push_rule",
    "save_learner",
    "save_transformer",
]
