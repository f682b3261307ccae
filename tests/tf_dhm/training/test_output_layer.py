"""The closed-form fit of an output layer."""

from __future__ import annotations

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.metrics import nme
from tf_dhm.training import output_layer
from tf_dhm.training.output_layer import Examples, OutputLayer, cross_fit, fit, folds, solve

FEATURES, POINTS = 6, 5


def faces(count: int, noise: float = 0.0, seed: int = 0) -> tuple[Examples, OutputLayer]:
    """Faces whose points are a linear function of their features, and that function."""
    rng = np.random.default_rng(seed)
    truth = OutputLayer(
        rng.normal(0.0, 0.1, (FEATURES, POINTS, 3)), mean_shape()[:: 68 // POINTS][:POINTS].astype(float)
    )
    features = rng.normal(1.0, 2.0, (count, 1, FEATURES))
    points = truth(features[:, 0])[:, None] + rng.normal(0.0, noise, (count, 1, POINTS, 3))
    return Examples(features, points, np.arange(count).astype(str)), truth


def zero_layer() -> OutputLayer:
    return OutputLayer(np.zeros((FEATURES, POINTS, 3)), np.zeros((POINTS, 3)))


def test_one_feature_by_hand() -> None:
    # Features -1, 0, 1 of deviation sqrt(2/3); x = 0.6 times the feature + 5, and y = 0.
    features = np.array([-1.0, 0.0, 1.0])
    points = np.zeros((3, 1, 1, 2))
    points[:, 0, 0, 0] = 5.0 + 0.6 * features
    examples = Examples(features[:, None, None], points, np.array(["a", "b", "c"]))
    prior = OutputLayer(np.zeros((1, 1, 2)), np.zeros((1, 2)))
    (layer,) = solve(examples, np.ones(3), prior, [3.0])
    # The scaled feature has a sum of squares of 3: with a penalty of 3 the slope is half of 0.6.
    assert layer.kernel[0, 0] == pytest.approx([0.3, 0.0], abs=1e-5)
    assert layer.bias[0] == pytest.approx([5.0, 0.0], abs=1e-5)
    # From a prior slope of 0.6 nothing changes, whatever the penalty.
    (kept,) = solve(examples, np.ones(3), OutputLayer(np.array([[[0.6, 0.0]]]), np.zeros((1, 2))), [1e6])
    assert kept.kernel[0, 0] == pytest.approx([0.6, 0.0], abs=1e-5)
    # The weight of a face counts: without the last the slope is that of the first two.
    points[2, 0, 0, 0] = 99.0
    (two,) = solve(examples, np.array([1.0, 1.0, 0.0]), prior, [1e-9])
    assert two.kernel[0, 0, 0] == pytest.approx(0.6, abs=1e-4)


def test_a_linear_annotation_is_learnt_exactly() -> None:
    examples, truth = faces(60)
    found = fit(examples, zero_layer(), [1e-6])
    np.testing.assert_allclose(found.layer.kernel, truth.kernel, atol=1e-4)
    np.testing.assert_allclose(found.layer.bias, truth.bias, atol=1e-4)


def test_more_noise_gives_a_stronger_penalty() -> None:
    clean, truth = faces(40, 0.001)
    noisy, _ = faces(40, 0.5)
    prior = OutputLayer(0.9 * truth.kernel, truth.bias)
    assert fit(clean, prior).strength < fit(noisy, prior).strength


def test_wrong_labels_do_not_count() -> None:
    examples, truth = faces(60, 0.01)
    examples.points[:6] = examples.points[6:12] + np.array([4.0, -3.0, 0.0])
    found = fit(examples, OutputLayer(truth.kernel * 0.8, truth.bias))
    assert (found.weights[:6] == 0.0).all()
    assert (found.weights[6:] > 0.0).all()
    assert nme(found.layer(examples.features[6:, 0]), examples.points[6:, 0]).max() < 10.0


def test_unknown_points_and_depths_keep_the_prior() -> None:
    examples, truth = faces(60)
    examples.points[..., 2] = np.nan
    examples.points[:30, :, 1] = np.nan
    prior = OutputLayer(truth.kernel * 0.5, truth.bias)
    layer = fit(examples, prior, [1e-6]).layer
    np.testing.assert_array_equal(layer.kernel[..., 2], prior.kernel[..., 2])
    np.testing.assert_allclose(layer.kernel[..., :2], truth.kernel[..., :2], atol=1e-4)


def test_held_out_faces_are_of_other_groups() -> None:
    group = np.array(["a", "a", "b", "c", "c", "d", "e"])
    tested = []
    for train, test in folds(group, 3):
        assert not set(group[train]) & set(group[test])
        assert sorted([*train, *test]) == list(range(7))
        tested += test.tolist()
    assert sorted(tested) == list(range(7))
    with pytest.raises(InputError, match="groups"):
        list(folds(group, 6))


def test_cross_fitting_measures_what_is_not_fitted() -> None:
    rng = np.random.default_rng(0)
    examples, _ = faces(40)
    noise = Examples(examples.features, rng.normal(size=examples.points.shape), examples.group)
    prior = zero_layer()
    fitted = fit(noise, prior, [1e-9]).layer
    held_out = cross_fit(noise, lambda _: prior, 4)
    # Points that are noise are partly memorised, and not predicted at all on held-out faces.
    truth = noise.points[:, 0]
    inside = np.linalg.norm(fitted(noise.features[:, 0]) - truth, axis=-1).mean()
    outside = np.linalg.norm(held_out.after - truth, axis=-1).mean()
    assert inside < 0.97 * outside
    np.testing.assert_array_equal(held_out.before, np.zeros_like(truth))
    assert sorted(set(held_out.fold)) == [0, 1, 2, 3]


def test_other_points_are_sums_of_the_landmarks() -> None:
    rng = np.random.default_rng(0)
    landmarks = mean_shape() * rng.uniform(0.8, 1.2, (40, 1, 3)) + rng.normal(0.0, 0.02, (40, 68, 3))
    middle = landmarks[:, 36:42].mean(1)
    points = np.stack([middle, landmarks[:, 30]], 1)
    points[:20, 1] = np.nan
    weights = output_layer.combine_points(landmarks, points)
    assert weights.sum(0) == pytest.approx([1.0, 1.0])
    found = np.einsum("nld,lp->npd", landmarks, weights)
    assert np.abs(found[:, 0, :2] - middle[:, :2]).max() < 0.03
    assert np.abs(found[:, 0, 2] - middle[:, 2]).max() < 0.08  # the depth is not fitted to
    assert np.abs(found[:, 1, :2] - landmarks[:, 30, :2]).max() < 0.08  # known in half of the faces
    points[:, 1] = np.nan
    with pytest.raises(InputError, match="point 1"):
        output_layer.combine_points(landmarks, points)
