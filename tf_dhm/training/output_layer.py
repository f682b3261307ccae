"""The output layer of a trained network fitted to another annotation, in closed form and without Keras.

The features of a face are x (F,), its points are Y (P, D), and the layer is Y = x K + b. Of the layers that
fit the labelled faces, ridge regression takes the one that is nearest to a prior layer K_0:

    sum over faces i and points p of  w_i |Y_ip - x_i K_p - b_p|^2  +  strength * |S (K - K_0)|^2

S is diagonal and holds the standard deviation of each feature. The weights w_i come from Huber's function of
a face's own error, so that wrong labels do not count, and the strength from cross-validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.metrics import nme

STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Strengths of the penalty among which cross-validation chooses, in faces."""
FIRST_STRENGTH = 300.0
"""Strength of the fit by which the faces are weighted."""
INNER_FOLDS = 4
ROUNDS = 3
"""How often the faces are weighted again."""
HUBER = 1.5
"""Errors up to this many times the median count in full."""
OUTLIER = 4.0
"""A face whose error is more than this many times the median does not count at all."""


@dataclass(frozen=True)
class OutputLayer:
    """Kernel (F, P, D) and bias (P, D) of a layer that gives P points in D dimensions, float64."""

    kernel: Array
    bias: Array

    def __call__(self, features: Array) -> Array:
        """(N, F) -> (N, P, D)."""
        return np.tensordot(features, self.kernel, 1) + self.bias


@dataclass(frozen=True)
class Examples:
    """Labelled faces, N of them, as V views each: crops that were cut or processed in different ways.

    Attributes:
        features: (N, V, F) float.
        points: (N, V, P, D) in the unit of the network; NaN where a point, or its z, is unknown.
        group: (N,) of each face; faces of one group, such as those of a person, are never both fitted
            and tested on.
    """

    features: Array
    points: Array
    group: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: NDArray[np.intp]) -> Examples:
        return Examples(self.features[rows], self.points[rows], self.group[rows])


@dataclass(frozen=True)
class Fit:
    """A fitted layer, the strength that was chosen, and the weight of each face in [0, 1], (N,)."""

    layer: OutputLayer
    strength: float
    weights: Array


def fit(examples: Examples, prior: OutputLayer, strengths: Sequence[float] = STRENGTHS) -> Fit:
    """Fit a layer; of several strengths, that of the least cross-validated error is taken.

    Args:
        examples: faces; the first view is the one that errors are measured on.
        prior: the layer that is kept as far as the faces do not contradict it. Dimensions without a
            label, such as z of 2-D labels, keep it altogether.
        strengths: of the penalty.

    Raises:
        InputError: fewer than two groups of faces.
    """
    weights = face_weights(examples, prior)
    strength = strengths[0]
    if len(strengths) > 1:
        errors = np.zeros((len(strengths), len(examples)))
        for train, test in folds(examples.group, INNER_FOLDS):
            held_out = examples[test]
            layers = solve(examples[train], weights[train], prior, strengths)
            for row, layer in zip(errors, layers, strict=True):
                row[test] = nme(layer(held_out.features[:, 0]), held_out.points[:, 0])
        # Faces with wrong labels must not choose.
        limit = OUTLIER * np.median(errors)
        strength = strengths[int(np.minimum(errors, limit).mean(1).argmin())]
    (layer,) = solve(examples, weights, prior, [strength])
    return Fit(layer, strength, weights)


@dataclass(frozen=True)
class CrossFit:
    """What layers say of faces that they were not fitted to.

    Attributes:
        before: (N, P, D) points of the first view by the prior layers.
        after: (N, P, D) by the fitted ones.
        fold: (N,) number of the fold that each face was held out in.
    """

    before: Array
    after: Array
    fold: NDArray[np.intp]


def cross_fit(examples: Examples, make_prior: Callable[[Examples], OutputLayer], count: int) -> CrossFit:
    """Predict each face by a layer that was fitted to faces of other groups.

    Args:
        examples: faces.
        make_prior: from the faces that are fitted to, the prior layer; see `fit`.
        count: number of folds, 2 or more. The strength is chosen inside each.

    Raises:
        InputError: fewer groups of faces than folds.
    """
    shape = examples.points[:, 0].shape
    before, after, fold = np.empty(shape), np.empty(shape), np.empty(len(examples), np.intp)
    for number, (train, test) in enumerate(folds(examples.group, count)):
        prior = make_prior(examples[train])
        layer = fit(examples[train], prior).layer
        features = examples.features[test, 0]
        before[test], after[test], fold[test] = prior(features), layer(features), number
    return CrossFit(before, after, fold)


def folds(group: NDArray[np.str_], count: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to fit and rows to test of each fold; the groups are dealt out at random, always alike.

    >>> [test.tolist() for _, test in folds(np.array(["a", "b", "a", "c"]), 3)]
    [[3], [0, 2], [1]]
    """
    names, numbers = np.unique(group, return_inverse=True)
    if len(names) < count:
        raise InputError(f"faces: found {len(names)} groups of faces, expected at least {count}")
    fold = np.empty(len(names), int)
    fold[np.random.default_rng(0).permutation(len(names))] = np.arange(len(names)) % count
    for number in range(count):
        is_test = fold[numbers] == number
        yield np.flatnonzero(~is_test), np.flatnonzero(is_test)


def face_weights(examples: Examples, prior: OutputLayer) -> Array:
    """Weight (N,) of each face: 1 for a usual error of a first fit, 0 for a face far off."""
    weights = np.ones(len(examples))
    for _ in range(ROUNDS):
        (layer,) = solve(examples, weights, prior, [FIRST_STRENGTH])
        errors = nme(layer(examples.features[:, 0]), examples.points[:, 0])
        relative = errors / max(float(np.median(errors)), 1e-9)
        weights = np.where(relative > OUTLIER, 0.0, np.minimum(1.0, HUBER / np.maximum(relative, 1e-9)))
    return weights


def solve(
    examples: Examples, weights: Array, prior: OutputLayer, strengths: Sequence[float]
) -> list[OutputLayer]:
    """The layer of each strength for faces of given weights (N,)."""
    views, dimensions = examples.features.shape[1], prior.bias.shape[1]
    x = examples.features.reshape(-1, examples.features.shape[-1]).astype(np.float64)
    y = examples.points.reshape(len(x), *prior.bias.shape)
    weight = np.repeat(weights, views) / views
    mean, scale = x.mean(0), x.std(0) + 1e-6
    design = np.concatenate([(x - mean) / scale, np.ones((len(x), 1))], 1)  # (N V, F + 1)
    residual = y - prior(x)
    penalty = np.diag([1.0] * x.shape[1] + [1e-6])
    changes = np.zeros((len(strengths), x.shape[1] + 1, *prior.bias.shape))
    for dimension in range(dimensions):
        known = np.isfinite(y[:, :, dimension])  # (N V, P)
        # Points that are known in the same faces share their normal equations.
        patterns, of_point = np.unique(known, axis=1, return_inverse=True)
        for number, pattern in enumerate(patterns.T):
            points = np.flatnonzero(of_point.ravel() == number)
            if not pattern.any():
                continue
            a, w = design[pattern], weight[pattern, None]
            gram, right = a.T @ (a * w), a.T @ (residual[pattern][:, points, dimension] * w)
            for change, strength in zip(changes, strengths, strict=True):
                change[:, points, dimension] = np.linalg.solve(gram + strength * penalty, right)
    return [
        OutputLayer(
            prior.kernel + (kernel := change[:-1] / scale[:, None, None]),
            prior.bias + change[-1] - np.tensordot(mean, kernel, 1),
        )
        for change in changes
    ]


def combine_points(landmarks: Array, points: Array, strength: float = 0.03) -> Array:
    """Express other points of the face as sums of its 68 landmarks.

    Args:
        landmarks: (N, 68, 3) of the network, which `points` (N, P, D) are measured beside.
        points: x, y and any z, NaN where unknown.
        strength: of the penalty that spreads a sum over the landmarks, in faces.

    Returns:
        (68, P) weights that sum to 1 for each point, the same for x, y and z.

    Raises:
        InputError: a point that is known in no face.
    """
    count = landmarks.shape[1]
    middle = landmarks[..., :2].mean(1, keepdims=True)
    x = (landmarks[..., :2] - middle).swapaxes(1, 2).reshape(-1, count)  # (2 N, 68)
    y = (points[..., :2] - middle).swapaxes(1, 2).reshape(len(x), -1)
    total = np.full((1, count), 1e3)  # a row that makes the weights sum to 1
    weights = np.empty((count, y.shape[1]))
    for point in range(y.shape[1]):
        known = np.isfinite(y[:, point])
        if not known.any():
            raise InputError(f"points: found none for point {point} in any face, expected some")
        a = np.concatenate([x[known], total])
        right = a.T @ np.append(y[known, point], 1e3)
        weights[:, point] = np.linalg.solve(a.T @ a + strength * known.sum() * np.eye(count), right)
    return weights / weights.sum(0)
