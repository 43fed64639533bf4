"""What a reviewer should know about a prediction before opening it, and how urgently to open it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medssl.inference.predictor import Prediction

CONFIDENT, DISAGREEING = 0.85, 0.05
"""A voxel is confident from the first on and disagreeing above the second: tau_max and tau of TCSeg."""


@dataclass(frozen=True)
class ClassMeasurements:
    """One class of a prediction.

    Attributes:
        volume_ml: predicted volume.
        components: connected components (26 neighbours).
        touches_border: whether it reaches the border of the scan.
        soft_overlap: the Dice that the probabilities expect; NaN where nothing was predicted.
    """

    volume_ml: float
    components: int
    touches_border: bool
    soft_overlap: float


@dataclass(frozen=True)
class ImageClassMeasurements:
    """One class of the prediction of an image.

    Attributes:
        share: of the pixels, in [0, 1].
        soft_overlap: the Dice that the probabilities expect; NaN where nothing was predicted.
    """

    share: float
    soft_overlap: float


@dataclass(frozen=True)
class CaseMeasurements:
    """One prediction.

    Attributes:
        classes: of every class but the background; of an image every class.
        boundary_uncertainty: mean uncertainty of the voxels on either side of a predicted boundary, in
            [0, 1]; NaN where there is none.
        mean_uncertainty: over the whole scan.
        confident_disagreeing: share of the predicted foreground that is confident although the views
            disagree; NaN without a disagreement map or a foreground.
        priority: in [0, 1], the higher the sooner to be looked at: see :func:`review_priority`.
    """

    classes: tuple[Any, ...]
    boundary_uncertainty: float
    mean_uncertainty: float
    confident_disagreeing: float
    priority: float


def review_priority(boundary_uncertainty: float, soft_overlaps: Sequence[float]) -> float:
    """How urgently a case should be looked at, in [0, 1].

    Mean of two estimates of what is wrong: the mean uncertainty along the predicted boundary, and one minus
    the mean Dice that the probabilities expect (uncertain voxels weigh more in a small structure). A class
    that was not predicted expects nothing of it, and a case without any comes first.
    """
    expected = [0.0 if math.isnan(value) else value for value in soft_overlaps]
    boundary = 1.0 if math.isnan(boundary_uncertainty) else boundary_uncertainty
    return (boundary + 1 - sum(expected) / len(expected)) / 2


def measure_case(prediction: Prediction, *, spacing: Sequence[float]) -> CaseMeasurements:
    """Measure a prediction.

    Args:
        prediction: of one scan.
        spacing: voxel size in mm.
    """
    labels = prediction.labels
    milliliters = float(np.prod(spacing)) / 1000
    classes = tuple(
        _measure_class(labels, k, milliliters, overlap)
        for k, overlap in enumerate(prediction.soft_overlap[1:], 1)
    )
    boundary = _boundary_uncertainty(prediction)
    return CaseMeasurements(
        classes=classes,
        boundary_uncertainty=boundary,
        mean_uncertainty=float(prediction.uncertainty.mean(dtype=np.float64)),
        confident_disagreeing=_confident_disagreeing(prediction, labels > 0),
        priority=review_priority(boundary, prediction.soft_overlap[1:]),
    )


def measure_image(prediction: Prediction) -> CaseMeasurements:
    """Measure the prediction of an image.

    Of many classes most are not in an image; its priority is made of those that were predicted.
    """
    counts = np.bincount(prediction.labels.ravel(), minlength=len(prediction.soft_overlap))
    classes = tuple(
        ImageClassMeasurements(float(count / prediction.labels.size), overlap)
        for count, overlap in zip(counts, prediction.soft_overlap, strict=True)
    )
    boundary = _boundary_uncertainty(prediction)
    # An image of one class has no boundary; all of it is looked at.
    mean = float(prediction.uncertainty.mean(dtype=np.float64))
    predicted = [overlap for overlap in prediction.soft_overlap if not math.isnan(overlap)]
    return CaseMeasurements(
        classes=classes,
        boundary_uncertainty=boundary,
        mean_uncertainty=mean,
        confident_disagreeing=_confident_disagreeing(prediction, np.ones(prediction.labels.shape, bool)),
        priority=review_priority(mean if math.isnan(boundary) else boundary, predicted),
    )


def _boundary_uncertainty(prediction: Prediction) -> float:
    edge = _boundary(prediction.labels)
    return float(prediction.uncertainty[edge].mean(dtype=np.float64)) if edge.any() else math.nan


def _measure_class(labels: NDArray[Any], label: int, milliliters: float, overlap: float) -> ClassMeasurements:
    # A bounding box first: components of a whole scan cost seconds, and those of a structure do not.
    box = _bounding_box(labels, label)
    if box is None:
        return ClassMeasurements(0.0, 0, False, math.nan)
    mask = labels[box] == label
    _, components = ndimage.label(mask, np.ones((3, 3, 3)))
    border = any(s.start == 0 or s.stop == n for s, n in zip(box, labels.shape, strict=True))
    return ClassMeasurements(int(mask.sum()) * milliliters, int(components), border, overlap)


def _bounding_box(labels: NDArray[Any], label: int) -> tuple[slice, slice, slice] | None:
    mask = labels == label
    slices = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        if not len(places):
            return None
        slices.append(slice(int(places[0]), int(places[-1]) + 1))
    return slices[0], slices[1], slices[2]


def _boundary(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Voxels, or pixels, with a face towards another class."""
    edge, axes = np.zeros(labels.shape, bool), range(labels.ndim)
    for axis in axes:
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in axes)
        high = tuple(slice(1, None) if a == axis else slice(None) for a in axes)
        differs = labels[low] != labels[high]
        edge[low] |= differs
        edge[high] |= differs
    return edge


def _confident_disagreeing(prediction: Prediction, foreground: NDArray[np.bool_]) -> float:
    if prediction.disagreement is None:
        return math.nan
    count = int(foreground.sum())
    if not count:
        return math.nan
    confident = foreground & (prediction.confidence >= CONFIDENT)
    return int((confident & (prediction.disagreement > DISAGREEING)).sum()) / count
