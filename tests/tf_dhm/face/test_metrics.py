"""Hand-computed values of the accuracy metrics."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_dhm.core.errors import InputError
from tf_dhm.face import metrics


def test_doctests() -> None:
    assert doctest.testmod(metrics).failed == 0


def test_nme_on_three_points_by_hand() -> None:
    # Box 8 x 2: d = 4. Distances 5 (3-4-5), 0 and 1: mean 2, so 50 %.
    truth = [[0.0, 0.0], [8.0, 2.0], [4.0, 1.0]]
    predicted = [[3.0, 4.0], [8.0, 2.0], [4.0, 0.0]]
    assert metrics.nme(predicted, truth) == pytest.approx(50.0)


def test_nme_is_of_each_face_and_ignores_z() -> None:
    truth = np.array([[[0, 0, 9], [4, 4, 9]], [[0, 0, 9], [1, 1, 9]]], float)
    predicted = truth + [1.0, 0.0, 500.0]
    np.testing.assert_allclose(metrics.nme(predicted, truth), [25.0, 100.0])
    np.testing.assert_allclose(metrics.nme(predicted[..., :2], truth), [25.0, 100.0])
    truth[..., 2] = np.nan
    np.testing.assert_allclose(metrics.nme(predicted, truth), [25.0, 100.0])


def test_nme_of_a_nan_prediction_is_nan() -> None:
    assert np.isnan(metrics.nme([[np.nan, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]]))


def test_nme_leaves_out_unknown_points() -> None:
    truth = np.array([[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [np.nan, np.nan]]])
    predicted = np.array([[[0.0, 0.0], [4.0, 3.0], [4.0, 4.0], [9.0, 9.0]]])
    assert metrics.nme(predicted, truth).tolist() == [25.0]
    with pytest.raises(InputError, match="finite"):
        metrics.nme(predicted, np.full_like(truth, np.nan))


def test_nme_rejects_unequal_shapes_and_flat_truth() -> None:
    with pytest.raises(InputError, match="expected equal shapes"):
        metrics.nme(np.zeros((68, 3)), np.zeros((66, 2)))
    with pytest.raises(InputError, match="box"):
        metrics.nme(np.zeros((2, 2)), [[0.0, 0.0], [5.0, 0.0]])


@given(
    scale=st.floats(0.1, 50.0),
    shift=st.floats(-200.0, 200.0),
    angle=st.sampled_from([0.0, np.pi / 2, np.pi]),
)
def test_nme_does_not_depend_on_scale_shift_or_quarter_turns(
    scale: float, shift: float, angle: float
) -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(0, 10, (2, 68, 2))
    predicted = truth + rng.normal(0, 1, truth.shape)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved = metrics.nme(predicted @ turn + shift, truth @ turn + shift)
    np.testing.assert_allclose(moved, metrics.nme(predicted, truth), rtol=1e-6)


def test_yaw_bins_are_closed_above() -> None:
    yaw = [0.0, 30.0, -30.0, 30.001, 60.0, -60.0, 60.001, 90.0, np.nan]
    assert metrics.yaw_bins(yaw).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, -1]


def test_ced_auc_and_failure_rate_by_hand() -> None:
    errors = [2.0, 4.0, 6.0, 8.0]
    assert metrics.ced(errors, [0, 2, 3.9, 4, 6, 8]).tolist() == [0, 0.25, 0.25, 0.5, 0.75, 1]
    # Steps up by a quarter at 2, 4 and 6: (0.25 * 2 + 0.5 * 2) / 6.
    assert metrics.auc(errors) == pytest.approx(0.25)
    assert metrics.failure_rate(errors) == 0.25
    assert metrics.auc(errors, 8.0) == pytest.approx((0.75 + 0.5 + 0.25) / 4)


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=30))
def test_auc_is_the_area_under_the_ced(errors: list[float]) -> None:
    thresholds = (np.arange(60_000) + 0.5) * 1e-4
    assert metrics.auc(errors) == pytest.approx(metrics.ced(errors, thresholds).mean(), abs=1e-4)


def test_summary_by_hand() -> None:
    summary = metrics.summarize([1.0, 3.0, 5.0, 9.0], [10.0, -20.0, 45.0, -80.0])
    assert summary == {
        "nme_0_30": 2.0,
        "nme_30_60": 5.0,
        "nme_60_90": 9.0,
        "nme_mean_of_bins": pytest.approx(16 / 3),
        "nme_mean": 4.5,
        "auc_6": pytest.approx((5 / 6 + 3 / 6 + 1 / 6) / 4),
        "failure_rate_6": 0.25,
        "images": 4,
        "missed": 0,
    }
    assert metrics.headline(summary) == pytest.approx(16 / 3)


def test_missed_faces_are_failures_and_in_no_mean() -> None:
    summary = metrics.summarize([1.0, np.inf, 5.0, np.inf], [10.0, -20.0, 45.0, -80.0])
    assert (summary["nme_0_30"], summary["nme_30_60"], summary["nme_60_90"]) == (1.0, 5.0, None)
    assert (summary["nme_mean_of_bins"], summary["nme_mean"]) == (None, 3.0)
    assert summary["auc_6"] == pytest.approx((5 / 6 + 1 / 6) / 4)
    assert (summary["failure_rate_6"], summary["images"], summary["missed"]) == (0.5, 4, 2)
    assert metrics.summarize([np.inf], [0.0])["nme_mean"] is None
    assert metrics.ced([1.0, np.inf], [0.0, 1.0, 6.0]).tolist() == [0.0, 0.5, 0.5]


def test_pose_errors_go_the_short_way_and_leave_out_large_angles() -> None:
    truth = [[10.0, 20.0, -95.0], [0.0, 99.5, 0.0], [np.nan, 0.0, 0.0]]
    errors = metrics.pose_errors([[12.0, 17.0, 175.0]] * 3, truth)
    assert errors[0].tolist() == [2.0, 3.0, 90.0]
    assert np.isnan(errors[1:]).all()
    summary = metrics.summarize_pose(np.concatenate([errors, [[4.0, 1.0, 0.0]]]))
    assert summary == {
        "pose_mae_pitch": 3.0,
        "pose_mae_yaw": 2.0,
        "pose_mae_roll": 45.0,
        "pose_mae": pytest.approx(50.0 / 3.0),
        "pose_faces": 2,
    }
    assert metrics.summarize_pose(np.full((2, 3), np.nan))["pose_mae"] is None


def test_summary_without_pose_has_no_bins() -> None:
    summary = metrics.summarize([1.0, 3.0], [np.nan, np.nan])
    assert [summary[f"nme_{name}"] for name in metrics.YAW_BINS] == [None, None, None]
    assert summary["nme_mean_of_bins"] is None
    assert summary["nme_mean"] == metrics.headline(summary) == 2.0


def test_summary_with_an_empty_bin_has_no_mean_of_bins() -> None:
    summary = metrics.summarize([1.0, 3.0], [0.0, 40.0])
    assert (summary["nme_0_30"], summary["nme_30_60"], summary["nme_60_90"]) == (1.0, 3.0, None)
    assert summary["nme_mean_of_bins"] is None


@pytest.mark.parametrize("errors", [[], [1.0, np.nan], [[1.0]]])
def test_bad_errors_are_rejected(errors: list[float]) -> None:
    with pytest.raises(InputError, match="expected"):
        metrics.auc(errors)
    with pytest.raises(InputError, match="expected"):
        metrics.summarize(errors, errors)


def test_summary_rejects_another_number_of_angles() -> None:
    with pytest.raises(InputError, match="one for each error"):
        metrics.summarize([1.0, 2.0], [0.0])


def test_roc_auc() -> None:
    assert metrics.roc_auc([1.0, 2.0, 3.0, 4.0], [False, False, True, True]) == 1.0
    assert metrics.roc_auc([1.0, 1.0], [False, True]) == 0.5
    assert metrics.roc_auc([4.0, 3.0, 2.0], [False, True, False]) == 0.5
    assert metrics.roc_auc([1.0, 2.0], [True, True]) is None


def test_balanced_accuracy() -> None:
    # 3 of 4 positives and 1 of 2 negatives.
    scores, positive = [0.9, 0.5, 0.6, 0.4, 0.4, 0.5], [True] * 4 + [False] * 2
    assert metrics.balanced_accuracy(scores, positive) == 0.625
    assert metrics.balanced_accuracy([0.1], [True]) is None
