"""Errors of other processes and of this one."""

from __future__ import annotations

import doctest

import pytest
import tensorflow as tf

from pipelines.input.services import OUT_OF_TURN
from pipelines.runs import failures
from pipelines.runs.failures import describe_lost_worker


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(failures).failed == 0


@pytest.mark.parametrize("kind", failures.LOST)
def test_a_process_that_is_gone_is_reported_as_such(kind: type[tf.errors.OpError]) -> None:
    message = describe_lost_worker(kind(None, None, "Socket closed\n0: details"))
    assert message is not None
    assert "Socket closed" in message
    assert "details" not in message


def test_a_second_worker_of_a_service_is_reported_as_such() -> None:
    error = tf.errors.InvalidArgumentError(None, None, f"assertion failed: [{OUT_OF_TURN}] [3] [4]")
    assert describe_lost_worker(error) == OUT_OF_TURN


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        tf.errors.InvalidArgumentError(None, None, "Incompatible shapes"),
        tf.errors.InternalError(None, None, "Blas GEMM launch failed"),
        tf.errors.NotFoundError(None, None, "faces-10/3.raw; No such file or directory"),
    ],
)
def test_errors_of_this_process_are_not(error: tf.errors.OpError) -> None:
    assert describe_lost_worker(error) is None
