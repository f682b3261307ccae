"""These tests need JAX, which requirements.txt has for the environment with TensorFlow 2.21."""

from __future__ import annotations

import os
from importlib.util import find_spec

# Compiling takes most of the time of these tests.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

collect_ignore_glob = [] if find_spec("jax") else ["test_*.py"]
