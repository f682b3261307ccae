"""What the browser package takes from the Python package is up to date."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tf_dhm
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.runtime.tflite import TFLitePredictor
from tools.web_constants import CONSTANTS, ROOT, constants
from tools.web_face import FACE, arrays, pack, unpack
from tools.web_test_data import web_models
from tools.web_test_pictures import two_faces
from tools.web_test_recording import expected_tracking

RENEW = "run `python tools/web_constants.py`"


def test_the_constants_are_up_to_date() -> None:
    committed = json.loads(CONSTANTS.read_text(encoding="utf-8"))
    current = json.loads(json.dumps(constants()))
    assert list(committed) == list(current), RENEW
    for name, value in current.items():
        assert committed[name] == value, f"{name}: {RENEW}"


def test_both_packages_have_the_same_version() -> None:
    for name in ("package.json", "package-lock.json"):
        assert json.loads((ROOT / "web" / name).read_text())["version"] == tf_dhm.__version__


def test_the_default_model_has_a_web_file() -> None:
    assert DEFAULT_MODEL in web_models()


@pytest.mark.parametrize("model", web_models())
def test_web_files_answer_as_the_files_beside_them(model: str) -> None:
    (path,) = Path(ROOT, "savedmodels", model).glob(f"*/{model}_web.tflite")
    web, half = TFLitePredictor(path), TFLitePredictor(path.with_name(f"{model}_float16.tflite"))
    size = web.input_size
    crops = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    first = half.predict(crops)
    for initial in (None, first.landmarks):
        found, expected = web.predict(crops, initial), half.predict(crops, initial)
        np.testing.assert_allclose(found.landmarks, expected.landmarks, rtol=0, atol=1e-4)
        for name in ("visibility", "confidence"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
def test_the_recorded_videos_are_worth_comparing(turned: bool) -> None:
    """They have faces that come, go, jump and become doubtful."""
    frames = expected_tracking(turned)
    calls = [call for frame in frames for call in frame["calls"]]
    counts = {len(frame["faces"]) for frame in frames}
    assert {2, 3} <= counts
    assert 10 < sum("detections" in call for call in calls) < len(frames)
    assert {face["id"] for frame in frames for face in frame["faces"]} >= {0, 1, 2}
    assert any(call["turned"] == turned for call in calls)
    assert any(face["confidence"] < 0.3 for call in calls for face in call.get("faces", []))


def test_two_faces() -> None:
    portrait = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
    picture = two_faces(portrait)
    assert picture.shape == (256, 512, 3)
    np.testing.assert_array_equal(picture[:, :256], portrait[:256, 100:356])


def test_the_open_face_is_up_to_date() -> None:
    committed, current = unpack(FACE.read_bytes()), arrays()
    assert list(committed) == list(current)
    # Another processor may find the directions with other signs, and the last digit of a rounded number.
    directions = committed["landmark_directions"]
    signs = np.sign((directions * current["landmark_directions"]).sum((0, 1)))
    for name in ("landmark_directions", "first"):
        current[name] = current[name] * signs
    for name in ("components", "directions"):
        current[name] = current[name] * signs[:, None]
    for name, array in current.items():
        atol = 2 if name == "directions" else 1e-4 * np.abs(array).max()
        np.testing.assert_allclose(committed[name], array, rtol=0, atol=atol, err_msg=name)


def test_arrays_are_packed_as_safetensors() -> None:
    values = {"a": np.arange(3.0), "b": np.array([[1], [2]], np.int16)}
    content = pack(values)
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    assert json.loads(content[8 : 8 + length]) == {
        "a": {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]},
        "b": {"dtype": "I16", "shape": [2, 1], "data_offsets": [24, 28]},
    }
    assert content[8 + length + 24 :] == b"\x01\x00\x02\x00"
    for name, array in unpack(content).items():
        np.testing.assert_array_equal(array, values[name])
