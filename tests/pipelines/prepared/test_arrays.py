"""Faces in memory, of one dataset or several."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.prepared import arrays
from tests.made_faces import made_faces


class TestJoin:
    def test_one_after_the_other(self) -> None:
        faces = made_faces(8)
        joined = arrays.join([faces[:3], faces[3:4], faces[4:]])
        assert isinstance(joined.images, arrays.JoinedImages)
        assert len(joined) == len(joined.images) == 8
        assert joined.images.shape == faces.images.shape
        assert np.array_equal(np.asarray(joined.images), np.asarray(faces.images))
        assert all(np.array_equal(joined.images[i], faces.images[i]) for i in np.arange(8))
        assert np.array_equal(joined[2:5].images, faces.images[2:5])
        assert joined[8:].images.shape == (0, 40, 40, 3)
        for field in ("landmarks", "visibility", "pose", "name", "split", "group"):
            assert np.array_equal(getattr(joined, field), getattr(faces, field)), field

    def test_outside(self) -> None:
        faces = made_faces(8)
        for index in (-1, 16):
            with pytest.raises(IndexError):
                arrays.join([faces, faces]).images[index]

    def test_one_part_is_itself(self) -> None:
        faces = made_faces(8)
        assert arrays.join([faces]) is faces
