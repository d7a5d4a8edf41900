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
from lit_lul.networks import MLP, CompetitiveNetwork, CompetitiveNetworks, ConvNet, MLPs
from lit_lul.objectives import FewShotRidge

if TYPE_CHECKING:
    from lit_lul.apply.transformer import RuleTransformer, load_transformer, save_transformer
else:

    def __getattr__(name: str) -> object:
        """Import what needs scikit-learn, which takes as long as torch, when it is first used."""
        if name not in ("RuleTransformer", "load_transformer", "save_transformer"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from lit_lul.apply import transformer

        return getattr(transformer, name)


__all__ = [
    "ANIL",
    "MAML",
    "MLP",
    "Applied",
    "Batch",
    "CompetitiveNetwork",
    "CompetitiveNetworks",
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
