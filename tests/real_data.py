"""The mark of tests that need real datasets, which are not part of the project."""

import os

import pytest

real_data = pytest.mark.skipif(
    not os.environ.get("LIT_LUL_DATA"),
    reason="needs LIT_LUL_DATA, a folder of datasets under their hub names",
)
