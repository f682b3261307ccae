"""NME, yaw bins, CED, AUC and failure rate: the protocol of the accuracy tables, in NumPy.

Errors and thresholds are percent; shares (CED, AUC, failure rate) are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.geometry import box_size, landmark_box

FAILURE_THRESHOLD = 6.0
"""NME in percent above which a face counts as failed; CED and AUC end there."""
YAW_EDGES = (30.0, 60.0)
"""Upper edges in degrees of |yaw|, each inside its bin: [0, 30], (30, 60], (60, ...)."""
YAW_BINS = ("0_30", "30_60", "60_90")
"""Names of the bins as in the keys of `summarize`."""
UNKNOWN_BIN = -1


def nme(predicted: ArrayLike, truth: ArrayLike) -> Array:
    """Normalised mean error of each face in percent.

    The mean over the known landmarks of the plain distance in x and y, divided by sqrt(w h) of the box
    of the known true landmarks. z is left out.

    Args:
        predicted: (..., N, 2 or 3) pixels.
        truth: (..., N, 2 or 3) pixels of the same image; x and y are NaN where unknown.

    Returns:
        (...) float64 percent; NaN if the prediction of a known landmark is NaN.

    Raises:
        InputError: numbers of faces or landmarks differ, or the box of the known landmarks of a face has
            no area.

    >>> nme([[0, 0], [4, 3], [4, 4]], [[0, 0], [4, 0], [4, 4]]).item()
    25.0
    >>> nme([[0, 0], [4, 3], [4, 4]], [[0, 0], [np.nan, np.nan], [4, 4]]).item()
    0.0
    """
    p, t = np.asarray(predicted, np.float64)[..., :2], np.asarray(truth, np.float64)[..., :2]
    if p.shape != t.shape:
        raise InputError(
            f"landmarks: found {p.shape} predicted against {t.shape} true, expected equal shapes"
        )
    known = ~np.isnan(t).any(-1)  # (..., N)
    distance = np.where(known, np.linalg.norm(p - t, axis=-1), 0.0)
    if not known.all():  # an unknown landmark moves to a known one, which leaves the box as it is
        first = np.take_along_axis(t, known.argmax(-1)[..., None, None], -2)  # (..., 1, 2)
        t = np.where(known[..., None], t, first)
    return 100.0 * distance.sum(-1) / np.maximum(known.sum(-1), 1) / box_size(landmark_box(t))


def yaw_bins(yaw: ArrayLike) -> NDArray[np.intp]:
    """The bin of each |yaw|: 0, 1, 2 as in YAW_BINS, UNKNOWN_BIN if yaw is NaN.

    Args:
        yaw: (...) degrees, as labelled: not wrapped.

    >>> yaw_bins([-30.0, 30.5, 60.0, -75.0, float("nan")]).tolist()
    [0, 1, 1, 2, -1]
    """
    degrees = np.abs(np.asarray(yaw, np.float64))
    return np.where(np.isnan(degrees), UNKNOWN_BIN, np.searchsorted(YAW_EDGES, degrees, side="left"))


def ced(errors: ArrayLike, thresholds: ArrayLike) -> Array:
    """Cumulative error distribution: the share of errors at or below each threshold.

    Args:
        errors: (N,) percent, N >= 1.
        thresholds: (T,) percent.

    Returns:
        (T,) float64 in [0, 1].

    >>> ced([1.0, 2.0, 2.0, 9.0], [0.5, 1.0, 2.0, 6.0]).tolist()
    [0.0, 0.25, 0.75, 0.75]
    """
    ordered = np.sort(check_errors(errors))
    return np.searchsorted(ordered, np.asarray(thresholds, np.float64), side="right") / ordered.size


def auc(errors: ArrayLike, threshold: float = FAILURE_THRESHOLD) -> float:
    """Area under the CED from 0 to `threshold`, divided by `threshold`; exact, in [0, 1].

    The CED is a staircase: an error e adds a step that is `threshold` - e long.

    >>> auc([0.0, 3.0, 7.0, 6.0])
    0.375
    """
    return float(np.maximum(1.0 - check_errors(errors) / threshold, 0.0).mean())


def failure_rate(errors: ArrayLike, threshold: float = FAILURE_THRESHOLD) -> float:
    """Share of errors above `threshold`, in [0, 1].

    >>> failure_rate([1.0, 6.0, 6.1, 20.0])
    0.5
    """
    return float((check_errors(errors) > threshold).mean())


def summarize(errors: ArrayLike, yaw: ArrayLike) -> dict[str, float | int | None]:
    """One entry of `metrics.json`: means per yaw bin and over all, AUC, failure rate.

    Args:
        errors: (N,) NME in percent, N >= 1; infinite for a missed face, one that was not found. Such a
            face is a failure and is left out of the means.
        yaw: (N,) degrees, NaN where unknown.

    Returns:
        nme_0_30, nme_30_60, nme_60_90 (None for a bin without a found face), nme_mean_of_bins (None
        unless every bin has one), nme_mean (None if all are missed), auc_6, failure_rate_6, images,
        missed (how many of the images).

    >>> summary = summarize([2.0, 4.0, float("inf")], [0.0, 10.0, 80.0])
    >>> summary["nme_0_30"], summary["nme_60_90"], summary["missed"], round(summary["failure_rate_6"], 2)
    (3.0, None, 1, 0.33)
    """
    values, bins = check_errors(errors), yaw_bins(yaw)
    if bins.shape != values.shape:
        raise InputError(f"yaw: found shape {bins.shape}, expected {values.shape}, one for each error")
    found = np.isfinite(values)
    means: list[float | None] = []
    for index in range(len(YAW_BINS)):
        inside = (bins == index) & found
        means.append(float(values[inside].mean()) if inside.any() else None)
    known = [mean for mean in means if mean is not None]
    summary: dict[str, float | int | None]
    summary = {f"nme_{name}": mean for name, mean in zip(YAW_BINS, means, strict=True)}
    summary["nme_mean_of_bins"] = float(np.mean(known)) if len(known) == len(YAW_BINS) else None
    summary["nme_mean"] = float(values[found].mean()) if found.any() else None
    summary["auc_6"] = auc(values)
    summary["failure_rate_6"] = failure_rate(values)
    summary["images"] = int(values.size)
    summary["missed"] = int((~found).sum())
    return summary


POSE_LIMIT = 99.0
"""Published errors of head pose leave out faces with an angle beyond this, in degrees."""
ANGLES = ("pitch", "yaw", "roll")


def pose_errors(predicted: ArrayLike, truth: ArrayLike) -> Array:
    """Absolute errors of head pose, taken the short way round.

    Args:
        predicted: (..., 3) degrees pitch, yaw, roll.
        truth: (..., 3) degrees.

    Returns:
        (..., 3) degrees in [0, 180]; NaN for a face with an unknown angle or a true one beyond
        POSE_LIMIT.

    >>> pose_errors([[1.0, -2.0, 179.0], [0.0, 0.0, 0.0]], [[0.0, 2.0, -98.0], [0.0, 100.0, 0.0]]).tolist()
    [[1.0, 4.0, 83.0], [nan, nan, nan]]
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    errors = np.abs((p - t + 180.0) % 360.0 - 180.0)
    usable = np.isfinite(errors).all(-1) & (np.abs(t) <= POSE_LIMIT).all(-1)
    return np.where(usable[..., None], errors, np.nan)


def summarize_pose(errors: ArrayLike) -> dict[str, float | int | None]:
    """Mean absolute error of head pose for `metrics.json`.

    Args:
        errors: (N, 3) of `pose_errors`.

    Returns:
        pose_mae_pitch, pose_mae_yaw, pose_mae_roll, pose_mae (their mean), all in degrees and None
        without a usable face, and pose_faces, the number of usable faces.
    """
    values = np.asarray(errors, np.float64).reshape(-1, 3)
    values = values[np.isfinite(values).all(-1)]
    means = values.mean(0).tolist() if len(values) else [None] * 3
    summary: dict[str, float | int | None]
    summary = {f"pose_mae_{angle}": mean for angle, mean in zip(ANGLES, means, strict=True)}
    summary["pose_mae"] = float(values.mean()) if len(values) else None
    summary["pose_faces"] = len(values)
    return summary


def headline(summary: Mapping[str, Any]) -> float:
    """The headline of a `summarize`d set in percent: mean of the bins, or of all faces if a bin is empty."""
    mean = summary["nme_mean_of_bins"]
    return float(summary["nme_mean"] if mean is None else mean)


def check_errors(errors: ArrayLike) -> Array:
    """Return `errors` as (N,) float64; InputError if there is none or one is not a number."""
    array = np.asarray(errors, np.float64)
    if array.ndim != 1 or array.size == 0 or np.isnan(array).any():
        found = f"shape {array.shape}" + (" with NaN" if np.isnan(array).any() else "")
        raise InputError(f"errors: found {found}, expected (N,) percentages, N >= 1")
    return array


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """Area under the ROC curve: how often a positive scores above a negative, a tie counting half.

    Args:
        scores: numbers in any shape.
        positive: as many flags.

    Returns:
        A share in [0, 1]; None without a positive or without a negative.

    >>> roc_auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    chosen = np.asarray(positive, bool).ravel()
    values = np.asarray(scores, np.float64).ravel()
    ordered = np.sort(values)
    # The mean rank of equal scores, from 1.
    ranks = (ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right") + 1) / 2
    above, below = int(chosen.sum()), int((~chosen).sum())
    if not above or not below:
        return None
    return float((ranks[chosen].sum() - above * (above + 1) / 2) / (above * below))


def balanced_accuracy(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """Mean of the share of positives scored 0.5 or more and the share of negatives scored less.

    Args, returns: as of `roc_auc`.

    >>> balanced_accuracy([0.9, 0.4, 0.1, 0.2], [True, True, False, False])
    0.75
    """
    chosen, found = np.asarray(positive, bool).ravel(), np.asarray(scores).ravel() >= 0.5
    if chosen.all() or not chosen.any():
        return None
    return float((found[chosen].mean() + (~found[~chosen]).mean()) / 2)
