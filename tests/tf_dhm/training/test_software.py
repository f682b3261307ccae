"""The versions beside checkpoints, and the rejection of those of the other Keras generation."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.training.software import SOFTWARE_FILE, check_software, record_software

OTHER = {"2": "3.15.1", "3": "2.15.0"}
"""A version of the generation that is not installed."""


def test_own_checkpoints_are_accepted(tmp_path: Path) -> None:
    check_software(tmp_path)  # of a version without a record
    record_software(tmp_path)
    assert json.loads((tmp_path / SOFTWARE_FILE).read_text())["keras"] == keras.__version__
    check_software(tmp_path)


def test_those_of_another_release_of_the_same_generation_are_accepted(tmp_path: Path) -> None:
    versions = {"keras": f"{keras.__version__[0]}.999.0", "tensorflow": "2.999.0", "python": "3.99.0"}
    (tmp_path / SOFTWARE_FILE).write_text(json.dumps(versions))
    record_software(tmp_path)  # keeps it
    check_software(tmp_path)
    assert json.loads((tmp_path / SOFTWARE_FILE).read_text()) == versions


def test_those_of_the_other_generation_are_rejected(tmp_path: Path) -> None:
    other = OTHER[keras.__version__[0]]
    (tmp_path / SOFTWARE_FILE).write_text(
        json.dumps({"keras": other, "tensorflow": "2.7.1", "python": "3.9.2"})
    )
    with pytest.raises(InputError, match=rf"found checkpoints of Keras {other} .*2\.7\.1.*--init SAVEDMODEL"):
        check_software(tmp_path)
