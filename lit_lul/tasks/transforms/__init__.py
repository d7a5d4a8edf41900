"""Transforms of a task's inputs, a file for each, and their pipeline.

Configurations name these classes without the package.
"""

from lit_lul.tasks.transforms.distortion import Distortion
from lit_lul.tasks.transforms.elastic import Elastic
from lit_lul.tasks.transforms.example_mask import ExampleMask
from lit_lul.tasks.transforms.geometry import Geometry
from lit_lul.tasks.transforms.inversion import Inversion
from lit_lul.tasks.transforms.permutation import Permutation
from lit_lul.tasks.transforms.pipeline import Pipeline, Targets
from lit_lul.tasks.transforms.placement import Placement
from lit_lul.tasks.transforms.printing import Printing
from lit_lul.tasks.transforms.task_mask import TaskMask
from lit_lul.tasks.transforms.tilt import Tilt
from lit_lul.tasks.transforms.transform import Overlay, Tasks, Transform, Warp

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
