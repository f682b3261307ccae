"""Settings that all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

# No deadline: the first call of a TensorFlow function traces it. The same examples every time:
# a failure is of the change at hand.
settings.register_profile("tf_dhm", deadline=None, derandomize=True)
settings.load_profile("tf_dhm")
