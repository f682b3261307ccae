"""Time of every operation of a TFLite file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.tiny_models import write_tiny_model
from tf_dhm.evaluation.operations import profile_operations


def test_profile_operations(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny", tflite=("float32", "float16"))
    profile = profile_operations(model / "1" / "tiny_float32.tflite", rounds=1)
    halves = profile_operations(model / "1" / "tiny_float16.tflite", rounds=1)
    assert halves["operation"].tolist() == profile["operation"].tolist()  # weights are widened at load
    assert profile["operation"][:3].tolist() == ["CAST", "CONV_2D", "ADD"]
    assert profile["output"].iloc[[1, -1]].tolist() == ["1x16x16x8", "1x68x3"]
    assert (profile["total_us"] > 0).all()
    np.testing.assert_allclose(profile["us"].cumsum(), profile["total_us"], atol=0.1 * len(profile))
