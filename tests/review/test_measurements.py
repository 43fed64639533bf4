"""What a reviewer should know of a prediction."""

import math

import numpy as np
import pytest
from scipy import ndimage

from medssl.inference.predictor import Prediction
from medssl.review.measurements import measure_case, measure_image, review_priority


def prediction(labels, uncertainty=None, confidence=None, disagreement=None, overlap=(0.8,)):
    labels = np.asarray(labels, np.uint8)
    filled = np.ones(labels.shape, np.float32)
    return Prediction(
        labels,
        filled if confidence is None else confidence,
        0 * filled if uncertainty is None else uncertainty,
        disagreement,
        None,
        (0.9, *overlap),  # that of the background counts nowhere
    )


def test_volume_components_and_border():
    labels = np.zeros((12, 10, 8), np.uint8)
    labels[2:5, 2:5, 2:5] = 1
    labels[5, 5, 5] = 1  # touches a corner: 26 neighbours
    labels[8:10, 8:10, 0] = 1
    labels[8, 2, 4] = 2
    measured = measure_case(prediction(labels, overlap=(0.8, 0.1, math.nan)), spacing=(0.5, 2, 1.5))
    first, second, third = measured.classes
    assert first.volume_ml == pytest.approx((27 + 1 + 4) * 1.5 / 1000)
    assert (first.components, first.touches_border) == (2, True)
    assert (second.components, second.touches_border) == (1, False)
    assert (third.components, third.volume_ml) == (0, 0)


def test_components_equal_those_of_the_whole_volume():
    labels = (ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(30, 28, 26)), 1.5) > 0.1).astype(
        int
    )
    measured = measure_case(prediction(labels), spacing=(1, 1, 1))
    assert measured.classes[0].components == ndimage.label(labels, np.ones((3, 3, 3)))[1]


def test_boundary_uncertainty_is_the_mean_on_both_sides_of_the_boundary():
    rng = np.random.default_rng(1)
    labels = (rng.random((7, 8, 9)) < 0.2).astype(np.uint8)
    uncertainty = rng.random(labels.shape).astype(np.float32)
    values = []
    for index in np.ndindex(labels.shape):
        near = [
            tuple(np.add(index, step))
            for axis in range(3)
            for step in (np.eye(3, dtype=int)[axis], -np.eye(3, dtype=int)[axis])
        ]
        near = [n for n in near if all(0 <= i < s for i, s in zip(n, labels.shape, strict=True))]
        if any(labels[n] != labels[index] for n in near):
            values.append(float(uncertainty[index]))
    measured = measure_case(prediction(labels, uncertainty), spacing=(1, 1, 1))
    assert measured.boundary_uncertainty == pytest.approx(np.mean(values), abs=1e-6)


def test_confident_but_disagreeing_is_a_share_of_the_foreground():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[:2] = 1
    confidence = np.full(labels.shape, 0.9, np.float32)
    confidence[0] = 0.6
    disagreement = np.zeros(labels.shape, np.float32)
    disagreement[:, :2] = 0.5
    measured = measure_case(
        prediction(labels, confidence=confidence, disagreement=disagreement), spacing=(1, 1, 1)
    )
    assert measured.confident_disagreeing == pytest.approx(8 / 32)
    assert math.isnan(measure_case(prediction(labels), spacing=(1, 1, 1)).confident_disagreeing)


def test_an_empty_prediction_comes_first():
    empty = measure_case(prediction(np.zeros((4, 4, 4)), overlap=(math.nan,)), spacing=(1, 1, 1))
    assert empty.priority == 1
    assert math.isnan(empty.boundary_uncertainty)
    assert review_priority(0.2, (0.9,)) == pytest.approx(0.15)
    assert review_priority(0.2, (0.9, math.nan)) > review_priority(0.2, (0.9, 0.9))


def test_an_image_is_measured_by_the_classes_that_are_in_it():
    labels = np.zeros((4, 10), np.uint8)
    labels[:, 6:] = 3
    uncertainty = np.zeros(labels.shape, np.float32)
    uncertainty[:, 5:7] = 0.6  # the two columns that meet
    overlaps = (0.9, math.nan, math.nan, 0.7)
    measured = measure_image(Prediction(labels, uncertainty, uncertainty, None, None, overlaps))
    assert [of_class.share for of_class in measured.classes] == [0.6, 0, 0, 0.4]
    assert measured.boundary_uncertainty == pytest.approx(0.6)
    assert measured.mean_uncertainty == pytest.approx(0.12)
    assert measured.priority == pytest.approx((0.6 + 1 - 0.8) / 2)
    alike = measure_image(
        Prediction(0 * labels, uncertainty, uncertainty, None, None, (0.5,) + (math.nan,) * 3)
    )
    assert math.isnan(alike.boundary_uncertainty)
    assert alike.priority == pytest.approx((0.12 + 1 - 0.5) / 2)
