"""Settings that all tests share."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

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
