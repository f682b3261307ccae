"""Errors of TensorFlow that come from another process of a run, so that a restart helps."""

from __future__ import annotations

import tensorflow as tf

from pipelines.input.services import OUT_OF_TURN

LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.NotFoundError,  # a restarted data service does not know the run
)
MISSING_FILE = "No such file"


def describe_lost_worker(error: tf.errors.OpError) -> str | None:
    """The failure of the workers or data services of a run; None if the error is of this process.

    Memory that ran out, a missing file and wrong shapes are of this process, for example.

    >>> describe_lost_worker(tf.errors.UnavailableError(None, None, "Socket closed"))
    'a worker or a data service no longer answers (UnavailableError: Socket closed)'
    >>> describe_lost_worker(tf.errors.ResourceExhaustedError(None, None, "OOM"))
    """
    if OUT_OF_TURN in error.message:
        return OUT_OF_TURN
    if isinstance(error, LOST) and MISSING_FILE not in error.message:
        first_line = error.message.splitlines()[0] if error.message else ""
        return f"a worker or a data service no longer answers ({type(error).__name__}: {first_line})"
    return None
