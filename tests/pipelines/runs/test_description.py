"""What a model card reports about a run."""

from __future__ import annotations

import doctest

import pytest
import tensorflow as tf

from pipelines.runs import description
from pipelines.runs.description import describe_datasets, machine, portable_command, without_folders
from tf_dhm.core.machine import processor_name


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(description).failed == 0


def test_datasets_are_described_by_name() -> None:
    assert describe_datasets(["synthetic"], [20], ())["synthetic"].startswith("20 faces; faces rendered")
    found = describe_datasets(["synthetic", "csv", "synthetic"], [1000, 300, 500], (1.0, 2.0, 1.0))
    assert list(found) == ["synthetic", "csv"]
    assert found["synthetic"].startswith("1,500 faces, 50.0% of the faces seen; faces rendered")
    found = describe_datasets(["csv", "synthetic"], [10, 20], ())
    assert found["csv"].startswith("10 faces; the user's own")


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="names the GPU if there is one")
def test_the_processor_is_named_with_its_threads() -> None:
    name, _, threads = machine().rpartition(", ")
    assert name == processor_name() != ""
    assert threads.removesuffix(" threads").isdecimal()


def test_a_model_card_does_not_name_folders_of_this_machine() -> None:
    command = "python train.py --preset tiny --data-dir /home/me/wild68 /data/made --runs-dir runs"
    assert portable_command(command) == "python train.py --preset tiny --data-dir wild68 made --runs-dir runs"
    options = {"init": None, "name": "/x/y", "data": {"data_dir": ["/home/me/wild68", "b"], "limit": 3}}
    expected = {"init": None, "name": "/x/y", "data": {"data_dir": ["wild68", "b"], "limit": 3}}
    assert without_folders(options) == expected
