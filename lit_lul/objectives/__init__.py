"""Objectives: scores of trained networks on labelled draws."""

from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Labelled, Objective, Score
from lit_lul.objectives.supervised import CrossEntropy, Prototypes, SquaredError

__all__ = [
    "CrossEntropy",
    "FewShotRidge",
    "Labelled",
    "Objective",
    "Prototypes",
    "Score",
    "SquaredError",
]
