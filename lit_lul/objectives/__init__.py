"""Objectives: scores of a trained network on labelled draws."""

from lit_lul.objectives.few_shot_ridge import FewShotRidge
from lit_lul.objectives.objective import Labelled, Objective, Score

__all__ = ["FewShotRidge", "Labelled", "Objective", "Score"]
