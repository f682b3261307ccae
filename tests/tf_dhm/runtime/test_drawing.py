"""Tests of tf_dhm.runtime.drawing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.fakes import mean_shape_in_box
from tf_dhm.face import geometry
from tf_dhm.runtime.drawing import (
    AXIS_COLOURS,
    CONTOURS,
    POINT_COLOUR,
    Part,
    draw_axes,
    draw_faces,
    draw_points,
)
from tf_dhm.runtime.faces import Face

BLACK = np.zeros((200, 200, 3), np.uint8)
LANDMARKS = mean_shape_in_box(np.array([50.0, 50.0, 150.0, 150.0]))


def face(pose: tuple[float, float, float] = (0, 0, 0)) -> Face:
    return Face(
        LANDMARKS.astype(np.float32), np.array([50.0, 50.0, 150.0, 150.0]), 0.9, np.array(pose, np.float32)
    )


def test_contours_use_each_point_once() -> None:
    assert sorted(i for line, _ in CONTOURS for i in line) == list(range(68))
    # Mirrored lines are lines: the mirror map agrees with them.
    lines = {frozenset(line) for line, _ in CONTOURS}
    assert {frozenset(geometry.MIRROR_68[list(line)].tolist()) for line in lines} == lines


def test_points_are_where_the_landmarks_are() -> None:
    drawn = draw_points(BLACK, [[20.0, 30.0], [150.0, 60.0]])
    for x, y in ((20, 30), (150, 60)):
        assert drawn[y, x].tolist() == list(POINT_COLOUR)
    # A dot is small and round about its landmark.
    marked = np.argwhere(drawn.any(-1) & (np.arange(200) < 100))
    np.testing.assert_allclose(marked.mean(0), [30, 20], atol=0.1)
    assert len(marked) < 30


@pytest.mark.parametrize(
    ("pose", "ends"),
    [
        # Ends of the axes right, up, forward relative to the nose, in half faces; y down.
        ((0, 0, 0), ((1, 0), (0, -1), (0, 0))),
        ((0, 0, 90), ((0, 1), (1, 0), (0, 0))),  # clockwise: up goes right
        ((0, 90, 0), ((0, 0), (0, -1), (-1, 0))),  # positive yaw: looks to the picture's left
        ((90, 0, 0), ((1, 0), (0, 0), (0, -1))),  # positive pitch: looks up
    ],
)
def test_axes(pose: tuple[float, float, float], ends: tuple[tuple[int, int], ...]) -> None:
    drawn = draw_axes(BLACK, LANDMARKS, pose)
    nose, half = LANDMARKS[30, :2], np.ptp(LANDMARKS[:, :2], axis=0).max() / 2
    for end, colour in zip(ends, AXIS_COLOURS, strict=True):
        if any(end):
            x, y = np.rint(nose + np.array(end) * half * 0.9).astype(int)
            assert drawn[y, x].tolist() == list(colour)


def test_axes_follow_the_pose_of_landmarks() -> None:
    """The axis that looks forward points where the nose points."""
    flip = np.array([1.0, -1.0, 1.0])
    shape = LANDMARKS - LANDMARKS.mean(0)
    turned = (shape * flip) @ geometry.rotation_matrix(0.2, 0.6, 0.3).T * flip + 100
    nose = turned[30, :2] - turned[27:36, :2].mean(0)
    pose = np.degrees(geometry.pose_from_landmarks(turned, LANDMARKS))
    drawn = draw_axes(BLACK, turned, pose)
    y, x = np.argwhere((drawn == AXIS_COLOURS[2]).all(-1)).mean(0)
    forward = np.array([x, y]) - turned[30, :2]
    assert forward @ nose > 0.8 * np.linalg.norm(forward) * np.linalg.norm(nose)


def test_ids() -> None:
    numbered = replace(face(), id=12)
    ids: tuple[Part, ...] = ("ids",)
    drawn = draw_faces(BLACK, [numbered], ids)
    rows, columns = np.nonzero(drawn.any(-1))
    # Above the face and centred over it.
    assert rows.max() < LANDMARKS[:, 1].min()
    assert (columns.min() + columns.max()) / 2 == pytest.approx(np.mean([50, 150]), abs=8)
    assert not draw_faces(BLACK, [face()], ids).any()


def test_draw_faces_leaves_the_picture_alone() -> None:
    picture = BLACK.copy()
    drawn = draw_faces(picture, [face()], ("points", "contours", "axes"))
    assert not picture.any()
    assert drawn.any()
    assert not draw_faces(picture, [face()], ()).any()
    assert not draw_faces(picture, []).any()


def test_outside_and_tiny() -> None:
    for landmarks in (LANDMARKS + 1e9, LANDMARKS - 5000, LANDMARKS * 1e-3):
        far = Face(landmarks.astype(np.float32), np.zeros(4), None, np.zeros(3, np.float32))
        assert draw_faces(BLACK, [far], ("points", "contours", "axes")).shape == BLACK.shape
