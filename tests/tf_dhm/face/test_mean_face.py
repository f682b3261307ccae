"""The mean face."""

from __future__ import annotations

import numpy as np
import pytest

from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.networks.models import constant_heatmap


def test_the_mean_face_fills_its_own_crop() -> None:
    # The crop's side is sqrt(2) times the longer side of the box, about its centre.
    box = geometry.landmark_box(mean_landmarks(100))
    assert max(box[2] - box[0], box[3] - box[1]) == pytest.approx(100 / np.sqrt(2), abs=1e-3)
    assert (box[:2] + box[2:]) / 2 == pytest.approx([49.5, 49.5], abs=1e-3)
    np.testing.assert_array_equal(constant_heatmap(48)[0], diffusion_heatmap(mean_landmarks(48), 48))
