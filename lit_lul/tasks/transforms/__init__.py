"""Transforms of a task's inputs, a file for each, and their pipeline.

Configurations name these classes without the package.
"""

from lit_lul.tasks.transforms.geometry import Geometry
from lit_lul.tasks.transforms.inputs import ExampleMask, Inversion, Permutation, TaskMask
from lit_lul.tasks.transforms.pipeline import Pipeline, Targets
from lit_lul.tasks.transforms.printing import Printing
from lit_lul.tasks.transforms.tilt import Tilt
from lit_lul.tasks.transforms.transform import Overlay, Tasks, Transform, Warp
from lit_lul.tasks.transforms.warps import Distortion, Elastic, Placement

__all__ = [
    "Distortion",
    "Elastic",
    "ExampleMask",
    "Geometry",
    "Inversion",
    "Overlay",
    "Permutation",
    "Pipeline",
    "Placement",
    "Printing",
    "Targets",
    "TaskMask",
    "Tasks",
    "Tilt",
    "Transform",
    "Warp",
]
