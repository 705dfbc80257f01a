"""What predictions are worth, in NumPy; with `weights`, examples (or positions) count what these have for them."""

from __future__ import annotations

import numpy as np

from graphc.types import Array


def accuracy(scores: Array, labels: Array, weights: Array | None = None) -> float:
    """The share of examples whose largest score, along axis 1, is that of the label."""
    return float(np.average(scores.argmax(1) == labels, weights=weights))


def top_k(scores: Array, labels: Array, k: int, weights: Array | None = None) -> float:
    """The share of examples whose label is among the k largest scores (ties count for the example)."""
    own = np.take_along_axis(scores, labels[:, None], 1)
    return float(np.average((scores > own).sum(1) < k, weights=weights))


def confusion_matrix(scores: Array, labels: Array, weights: Array | None = None) -> Array:
    """counts[i, j]: examples of class i that were taken for class j; int64 [classes, classes]; of weights float64."""
    classes = scores.shape[1]
    pairs = labels * classes + scores.argmax(1)
    return np.bincount(pairs, weights, minlength=classes**2).reshape(classes, classes)


def precision_recall(confusion: Array) -> tuple[Array, Array]:
    """For each class: the share of right ones among those taken for it, and among those of it; 0 of none."""
    right = np.diag(confusion).astype(np.float64)
    taken, given = confusion.sum(0), confusion.sum(1)
    return right / np.maximum(taken, 1), right / np.maximum(given, 1)


def root_mean_squared_error(prediction: Array, target: Array, weights: Array | None = None) -> float:
    """√ mean (p − t)², in the unit of the target."""
    return float(np.sqrt(np.average(np.square(prediction.astype(np.float64) - target), weights=weights)))


def mean_absolute_error(prediction: Array, target: Array, weights: Array | None = None) -> float:
    """mean |p − t|, in the unit of the target."""
    return float(np.average(np.abs(prediction.astype(np.float64) - target), weights=weights))
