"""Settings that all tests share."""

from __future__ import annotations

import gc
import os
import signal

import pytest
from hypothesis import settings

from tests.shared import set_root

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as scripts set it

# A shell without job control starts background commands with Ctrl-C ignored, and their processes with them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: the first call of a TensorFlow function traces it. The same examples every time:
# a failure is of the change at hand.
settings.register_profile("tf_dhm", deadline=None, derandomize=True)
settings.load_profile("tf_dhm")


@pytest.fixture(scope="session", autouse=True)
def _shared_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    set_root(tmp_path_factory)


def pytest_collection_finish() -> None:
    """Leave the modules of all tests and libraries, which stay, out of every later garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
