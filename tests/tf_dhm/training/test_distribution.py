"""The number of a worker, and its share of a batch. Training itself: tests/test_train_distributed.py."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_dhm.core.errors import InputError
from tf_dhm.training import distribution
from tf_dhm.training.distribution import Strategy, find_strategy, place_in_cluster


def config(kind: str, index: int, **cluster: list[str]) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (None, (0, 1)),
        (config("worker", 0, worker=["a:1"]), (0, 1)),
        (config("worker", 1, worker=["a:1", "b:1"]), (1, 2)),
        (config("chief", 0, chief=["a:1"], worker=["b:1", "c:1"]), (0, 3)),
        (config("worker", 1, chief=["a:1"], worker=["b:1", "c:1"]), (2, 3)),
    ],
)
def test_the_place_of_a_worker(
    text: str | None, place: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    assert place_in_cluster() == place


@pytest.mark.parametrize(
    "text",
    [
        "worker",
        "{}",
        "[1]",
        '{"cluster": {"worker": ["a:1"]}}',
        config("worker", 2, worker=["a:1", "b:1"]),
        config("evaluator", 0, worker=["a:1"], evaluator=["b:1"]),
        config("chief", 0, worker=["a:1"]),
    ],
)
def test_a_place_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=r"TF_CONFIG: found '.*expected JSON as"):
        place_in_cluster()


def test_several_workers_are_rejected_where_keras_does_not_support_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert keras.__version__.startswith("2.") == distribution.MULTI_WORKER
    monkeypatch.setattr(distribution, "MULTI_WORKER", False)
    with pytest.raises(InputError, match=r"distribute: found multi_worker, expected none.* 3\.11"):
        find_strategy("multi_worker")


def test_one_device_has_the_whole_batch() -> None:
    devices = find_strategy()
    assert (devices.replicas, devices.chief, devices.rows) == (1, True, slice(0, None, 1))
    batch = {"image": tf.range(6), "step": tf.constant(3)}
    assert devices.split(batch) is batch
    assert int(devices.add_up(lambda found: tf.reduce_sum(found["image"]), batch)) == 15


def test_workers_share_a_batch() -> None:
    rows = [np.arange(8)[Strategy(None, worker, 3).rows].tolist() for worker in range(3)]
    assert rows == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert [Strategy(None, worker, 3).chief for worker in range(3)] == [True, False, False]


class TwoDevices:
    """What `Strategy.split` asks of a strategy with two devices in each of two processes."""

    num_replicas_in_sync = 4

    def experimental_distribute_values_from_function(self, share: Any) -> list[Any]:
        # Of the second process.
        return [share(tf.distribute.experimental.ValueContext(number, 4)) for number in (2, 3)]


def test_devices_share_what_their_worker_has() -> None:
    batch = {"image": tf.range(6), "initial": tf.range(3), "step": tf.constant(3)}
    shares = Strategy(TwoDevices(), 1, 2).split(batch)
    found = [{key: value.numpy().tolist() for key, value in share.items()} for share in shares]
    assert found == [{"image": [0, 2, 4], "initial": [0, 2]}, {"image": [1, 3, 5], "initial": [1]}]
