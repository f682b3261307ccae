"""The morphable model in NumPy: Eq. 1 and 2, and its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.morphables import VERTICES, toy_model, toy_parameters
from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import MIRROR_68, box_size, landmark_box, rotation_matrix, unit_to_pixels
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.parameters import NUM_PARAMETERS
from tf_dhm.face.standardised import standardise

MODEL = toy_model()


def single_point_model() -> MorphableModel:
    """Every vertex at (1, 2, 3); identity 0 moves it by (1, 0, 0), expression 28 by (0, 0, 2)."""
    model = replace(
        MODEL,
        mean=np.tile([1.0, 2.0, 3.0], (VERTICES, 1)),
        identity=np.zeros_like(MODEL.identity),
        expression=np.zeros_like(MODEL.expression),
    )
    model.identity[0, :, 0] = 1.0
    model.expression[28, :, 2] = 2.0
    return model


def test_project_matches_a_hand_computed_point() -> None:
    p = np.zeros(NUM_PARAMETERS)
    p[0], p[2], p[4:6] = 10.0, np.pi / 2, (100.0, 200.0)  # f, yaw, t_2d
    p[6], p[233] = 4.0, 0.5  # S = (1 + 4, 2, 3 + 1)
    # A yaw of +90 degrees takes (x, y, z) to (-z, y, x).
    plane = [100.0 - 10 * 4.0, 200.0 + 10 * 2.0, 10 * 5.0]
    model = single_point_model()
    np.testing.assert_allclose(model.project(p), np.tile(plane, (68, 1)), atol=1e-9)
    np.testing.assert_allclose(model.vertices(p)[7], plane, atol=1e-9)
    np.testing.assert_allclose(model.project(p, 450)[0], [plane[0] - 1, 450 - plane[1], plane[2]], atol=1e-9)


def test_landmarks_are_the_vertices_of_the_landmarks() -> None:
    p = toy_parameters(MODEL, 6).reshape(2, 3, -1)
    dense = MODEL.vertices(p, 450)
    assert dense.shape == (2, 3, VERTICES, 3)
    np.testing.assert_allclose(dense[..., MODEL.landmarks, :], MODEL.project(p, 450), atol=1e-9)


def test_shape_is_linear_in_its_parameters() -> None:
    p = toy_parameters(MODEL, 2)
    both = p[0].copy()
    both[6:] += p[1, 6:]
    zero = np.zeros(NUM_PARAMETERS)
    np.testing.assert_allclose(
        MODEL.shape(both), MODEL.shape(p[0]) + MODEL.shape(p[1]) - MODEL.shape(zero), rtol=1e-12
    )


def test_wrong_number_of_parameters_is_rejected() -> None:
    with pytest.raises(InputError, match=r"\(233,\), expected \(\.\.\., 234\)"):
        MODEL.project(np.zeros(233))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": MODEL.identity[:198]}, r"identity of shape \(198, 75, 3\), expected \(199, 75, 3\)"),
        ({"landmarks": MODEL.landmarks[:60]}, r"landmarks of shape \(60,\), expected \(68,\)"),
        ({"landmarks": MODEL.landmarks + 50}, "expected vertices from 0 to 74"),
        ({"expression_std": np.zeros(29)}, "expression_std that are not positive"),
        ({"region": np.zeros(3, np.uint8)}, r"region of shape \(3,\), expected \(75,\)"),
    ],
)
def test_a_model_that_does_not_fit_together_is_rejected(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(MODEL, **change)


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    region = (np.arange(VERTICES) % 2).astype(np.uint8)
    model = replace(MODEL, region=region, region_names=("skin", "lips"))
    path = tmp_path / "sub" / "model.npz"
    model.save(path)
    loaded = MorphableModel.load(path)
    assert loaded.region_names == ("skin", "lips")
    for key in ("mean", "identity", "expression", "identity_std", "expression_std"):
        assert getattr(loaded, key).dtype == np.float64
    p = toy_parameters(MODEL, 3)
    np.testing.assert_array_equal(loaded.vertices(p), model.vertices(p))
    for key in ("landmarks", "triangles", "region"):
        np.testing.assert_array_equal(getattr(loaded, key), getattr(model, key))


@pytest.mark.parametrize("storage", ["float16", "one step", "a step per component"])
def test_load_reads_compact_components(tmp_path: Path, storage: str) -> None:
    arrays = {
        "mean": MODEL.mean.astype(np.float32),
        "identity_std": MODEL.identity_std,
        "expression_std": MODEL.expression_std,
        "landmarks": MODEL.landmarks,
        "triangles": MODEL.triangles,
    }
    for key in ("identity", "expression"):
        values = getattr(MODEL, key)
        if storage == "float16":
            arrays[key] = values.astype(np.float16)
            continue
        axes = (1, 2) if storage == "a step per component" else None
        step = np.abs(values).max(axes) / 32767
        arrays[f"{key}_scale"] = step
        arrays[key] = np.rint(values / np.reshape(step, (-1, 1, 1))).astype(np.int16)
    np.savez(tmp_path / "model.npz", **arrays)
    loaded = MorphableModel.load(tmp_path / "model.npz")
    assert loaded.identity.dtype == np.float32
    p = toy_parameters(MODEL, 1)
    # Storage costs less than 0.02 px in a face of some 200 px.
    np.testing.assert_allclose(loaded.project(p), MODEL.project(p), atol=0.1)


def test_load_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz: found no file"):
        MorphableModel.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(InputError, match=r"text\.npz: found no \.npz archive"):
        MorphableModel.load(tmp_path / "text.npz")
    np.savez(tmp_path / "half.npz", mean=MODEL.mean)
    with pytest.raises(InputError, match=r"half\.npz: found \['mean'\], expected also \['identity'"):
        MorphableModel.load(tmp_path / "half.npz")


# The open face


def test_open_face_is_a_face_in_the_agreed_axes() -> None:
    model = MorphableModel.open_face()
    assert len(model.triangles) > 5000
    assert len(model.region) == len(model.mean)
    assert model.region.max() < len(model.region_names)
    # The frontal mean face stands in its crop as the mean shape of real faces does.
    size = 128
    landmarks = standardise(model).project(np.zeros(NUM_PARAMETERS), size)
    mean = unit_to_pixels(mean_shape(), size)
    assert np.linalg.norm((landmarks - mean)[:, :2], axis=1).mean() < 0.08 * box_size(landmark_box(mean))
    # It is symmetric: mirroring exchanges left and right.
    centred = model.landmark_mean - model.landmark_mean.mean(0)
    mirrored = centred[MIRROR_68] * [-1.0, 1.0, 1.0]
    assert np.abs(mirrored - centred).max() < 0.05 * np.ptp(centred[:, 0])


def test_a_yaw_turns_the_open_face_as_pose_para_does() -> None:
    model = MorphableModel.open_face()
    p = np.zeros(NUM_PARAMETERS)
    p[:6] = 10.0, 0.0, 0.5, 0.0, 225.0, 225.0
    nose = model.project(p, 450)
    np.testing.assert_allclose(
        nose[30] - nose[27],
        10.0 * np.array([1.0, -1.0, 1.0]) * (rotation_matrix(0.0, 0.5, 0.0) @ (
            model.landmark_mean[30] - model.landmark_mean[27]
        )),
        atol=1e-9,
    )  # fmt: skip
    # Positive yaw: the nose tip moves to the left of the picture against the eyes.
    eyes = nose[36:48, 0].mean()
    assert nose[30, 0] < eyes
