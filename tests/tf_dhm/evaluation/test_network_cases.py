"""Networks alone as cases of a benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.network_cases import random_input, tflite_case


def test_random_input() -> None:
    pixels = random_input((2, 8, 8, 3), np.uint8)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (2, 8, 8, 3)
    assert pixels.max() > 200
    values = random_input((8,), np.float32)
    assert values.dtype == np.float32
    assert values.max() < 1


def test_files_that_are_no_network(tmp_path: Path) -> None:
    path = tmp_path / "peer.tflite"
    with pytest.raises(InputError, match=r"peer.tflite: found no such file"):
        tflite_case("peer", path, "float32", 1, 1, None)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"peer.tflite: found no readable TFLite model"):
        tflite_case("peer", path, "float32", 1, 1, None)
